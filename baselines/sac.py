"""Soft actor-critic (Haarnoja et al. 2018), Stable-Baselines3's implementation untouched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback

from hjbbench.protocol import Clock, Task
from hjbbench.registry import agent


@dataclass(frozen=True)
class SacConfig:
    """Stable-Baselines3's own defaults; the discount is the task's."""

    learning_rate: float = 3e-4
    buffer_size: int = 1_000_000
    learning_starts: int = 100
    batch_size: int = 256
    tau: float = 0.005
    train_freq: int = 1
    gradient_steps: int = 1
    net_arch: tuple[int, ...] = (256, 256)


class TickClock(BaseCallback):
    """Reports every decision and the gradient steps since the last one to the harness's clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self._n_updates = 0

    def _on_step(self) -> bool:
        updates, self._n_updates = self.model._n_updates - self._n_updates, self.model._n_updates
        self.clock.tick(steps=1, updates=updates)
        return True  # learn() itself stops at the budget, after the gradient step of the last decision


@agent("sac", config=SacConfig())
class Sac:
    """Stable-Baselines3's SAC at its defaults: the model-free yardstick."""

    def __init__(self, task: Task, env: gym.Env, config: SacConfig, seed: int) -> None:
        self.model = SAC(
            "MlpPolicy",
            env,
            learning_rate=config.learning_rate,
            buffer_size=config.buffer_size,
            learning_starts=config.learning_starts,
            batch_size=config.batch_size,
            tau=config.tau,
            gamma=task.discount,
            train_freq=config.train_freq,
            gradient_steps=config.gradient_steps,
            policy_kwargs={"net_arch": list(config.net_arch)},
            seed=seed,
            device="cpu",
        )

    def learn(self, env: gym.Env, clock: Clock) -> None:
        self.model.learn(clock.budget_steps, callback=TickClock(clock))

    def act(self, obs: np.ndarray, *, deterministic: bool = True) -> np.ndarray:
        return self.model.predict(obs, deterministic=deterministic)[0]

    def value(self, obs: np.ndarray) -> np.ndarray:
        """The smaller critic at the deterministic action; SAC's own value has the entropy bonus on top."""
        with torch.no_grad():
            states = torch.as_tensor(obs, dtype=torch.float32)
            actions = self.model.actor(states, deterministic=True)
            return torch.min(*self.model.critic(states, actions)).squeeze(1).numpy()

    def save(self, path: Path) -> None:
        torch.save(self.model.policy.state_dict(), path)

    def load(self, path: Path) -> None:
        self.model.policy.load_state_dict(torch.load(path, weights_only=True))
