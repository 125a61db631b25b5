"""The loop of the agents that are not Stable-Baselines3's: random decisions first, then act, store, learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from baselines.replay import Replay
from baselines.warmup import ShortEpisodes
from hjbbench.compiling import pays_off
from hjbbench.errors import Diverged, UserError
from hjbbench.protocol import Clock, Task

BUFFER_SIZE = 1_000_000
"""Transitions kept; more than any budget here."""


def checked_sizes(task: Task, env: gym.Env) -> tuple[int, int]:
    """Observation and action dimensions; raises UserError for spaces that are not flat boxes."""
    for name, space in (("observation", env.observation_space), ("action", env.action_space)):
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
            raise UserError(f"task {task.name!r}: {name} space is {space}, must be a one-dimensional Box")
    return env.observation_space.shape[0], env.action_space.shape[0]  # type: ignore[index]


class OffPolicyAgent:
    """Base of the agents that learn from a replay buffer.

    A subclass defines ``networks``, ``_policy`` and ``_train``.
    """

    def __init__(self, task: Task, env: gym.Env, seed: int, warmup_steps: int) -> None:
        torch.manual_seed(seed)
        self.task = task
        self.obs_dim, self.action_dim = checked_sizes(task, env)
        self.warmup_steps = warmup_steps
        self.replay = Replay(self.obs_dim, self.action_dim, BUFFER_SIZE)

    def learn(self, env: gym.Env, clock: Clock) -> None:
        """Act, store, learn, until the clock stops; the time a decision took is ``info["dt"]`` where tasks vary it."""
        if pays_off(clock.budget_steps, torch.device("cpu")):
            self.fuse()
        env = ShortEpisodes(env, self.warmup_steps, taken=clock.n_steps)
        obs, _ = env.reset()
        while clock.running:
            if clock.n_steps < self.warmup_steps:
                action = (2.0 * torch.rand(self.action_dim) - 1.0).numpy()
            else:
                action = self.act(obs, deterministic=False)
            next_obs, reward, terminated, truncated, info = env.step(action)
            elapsed = info.get("dt", self.task.dt) / self.task.dt
            self.replay.append(obs, action, next_obs, float(reward), bool(terminated), elapsed)
            updates = self._train(clock) if clock.n_steps + 1 >= self.warmup_steps else 0
            clock.tick(steps=1, updates=updates)
            obs = next_obs
            if terminated or truncated:
                clock.checkpoint()
                obs, _ = env.reset()

    def act(self, obs: np.ndarray, *, deterministic: bool = True) -> np.ndarray:
        with torch.no_grad():
            states = torch.as_tensor(np.asarray(obs), dtype=torch.float32)
            actions = self._policy(states.reshape(-1, self.obs_dim), deterministic)
        if not torch.isfinite(actions).all():
            raise Diverged("the policy's action is not finite")
        return actions.reshape(*states.shape[:-1], self.action_dim).numpy()

    def save(self, path: Path) -> None:
        torch.save(self.state_dict(), path)

    def load(self, path: Path) -> None:
        self.load_state_dict(torch.load(path, weights_only=True))

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what comes next; a subclass adds what it has besides networks and replay buffer."""
        return {"networks": self.networks.state_dict(), "replay": self.replay.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.networks.load_state_dict(state["networks"])
        self.replay.load_state_dict(state["replay"])

    @property
    def networks(self) -> nn.Module:
        """All networks, whose optimisers are part of their state."""
        raise NotImplementedError

    def fuse(self) -> None:
        """Compile what is computed over and over; called in runs that are long enough to pay for the compiler."""

    def _policy(self, obs: Tensor, deterministic: bool) -> Tensor:
        """Actions (n, action_dim) for observations (n, obs_dim)."""
        raise NotImplementedError

    def _train(self, clock: Clock) -> int:
        """What follows a decision; returns the number of gradient steps on the critics."""
        raise NotImplementedError

    def terminated(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """The task's known termination rule on a batch, (n,) bool; never where the task has none."""
        if self.task.terminated is None:
            return torch.zeros(len(obs), dtype=torch.bool)
        return self.task.terminated(obs, action, next_obs)
