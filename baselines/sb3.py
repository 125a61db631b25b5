"""What the agents built on Stable-Baselines3 share: the clock's callback, acting, saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from hjbbench.protocol import Clock

COUNTS = ("num_timesteps", "_n_updates", "_episode_num")


class TickClock(BaseCallback):
    """Reports every decision and the gradient steps since the last one to the harness's clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def _on_training_start(self) -> None:
        self._n_updates, self._over = self.model._n_updates, False

    def _on_rollout_start(self) -> None:
        # The last transition is stored and learned from only here; where it ended an episode, the next one has begun.
        if self._over:
            self.clock.tick(updates=self._new_updates())
            self.clock.checkpoint()

    def _on_step(self) -> bool:
        self._over = bool(self.locals["dones"][0])
        self.clock.tick(steps=1, updates=self._new_updates())
        return True  # learn() itself stops at the budget, after the gradient step of the last decision

    def _new_updates(self) -> int:
        """Gradient steps since the last call."""
        before, self._n_updates = self._n_updates, self.model._n_updates
        return self._n_updates - before


class Sb3Agent:
    """An agent around a Stable-Baselines3 off-policy algorithm; the subclass builds ``model``."""

    model: OffPolicyAlgorithm

    def learn(self, env: gym.Env, clock: Clock) -> None:
        # Where a checkpoint was loaded, the decisions before it are no longer to be taken.
        left = clock.budget_steps - self.model.num_timesteps
        self.model.learn(left, callback=TickClock(clock), reset_num_timesteps=False)

    def act(self, obs: np.ndarray, *, deterministic: bool = True) -> np.ndarray:
        return self.model.predict(obs, deterministic=deterministic)[0]

    def value(self, obs: np.ndarray) -> np.ndarray:
        """The smallest critic at the deterministic action; a soft value has the entropy bonus on top."""
        policy: Any = self.model.policy
        policy.set_training_mode(False)
        with torch.no_grad():
            states = torch.as_tensor(obs, dtype=torch.float32)
            actions = policy.actor(states, deterministic=True)
            values = policy.critic(states, actions)
            # two critics as a tuple, or quantiles (n, critics, quantiles) of a distributional one
            each = torch.cat(values, dim=1) if isinstance(values, tuple) else values.mean(-1)
            return each.amin(1).numpy()

    def save(self, path: Path) -> None:
        model, buffer = self.model, self._buffer
        filled = buffer.size()
        state = {
            "parameters": model.get_parameters(),
            "variables": {name: getattr(model, name).data for name in model._get_torch_save_params()[1]},
            "counts": {name: getattr(model, name) for name in COUNTS},
            "columns": {name: torch.from_numpy(column[:filled]) for name, column in _columns(buffer).items()},
            "buffer": {"pos": buffer.pos, "full": buffer.full},
        }
        torch.save(state, path)

    def load(self, path: Path) -> None:
        model, buffer, state = self.model, self._buffer, torch.load(path, weights_only=True)
        model.set_parameters(state["parameters"])
        for name, value in state["variables"].items():
            getattr(model, name).data.copy_(value)
        for name, value in state["counts"].items():
            setattr(model, name, value)
        buffer.pos, buffer.full = state["buffer"]["pos"], state["buffer"]["full"]
        for name, column in _columns(buffer).items():
            column[: buffer.size()] = state["columns"][name].numpy()
        assert model.env is not None
        # the shared warm-up counts decisions too, where an agent has it
        model.env.env_method("set_wrapper_attr", "taken", model.num_timesteps, force=False)

    @property
    def _buffer(self) -> ReplayBuffer:
        assert self.model.replay_buffer is not None
        return self.model.replay_buffer


def _columns(buffer: ReplayBuffer) -> dict[str, np.ndarray]:
    """The arrays that hold one row per transition."""
    return {name: value for name, value in vars(buffer).items() if isinstance(value, np.ndarray) and value.ndim >= 2}
