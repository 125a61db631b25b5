"""Uniformly random actions: the lower anchor of every table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

from hjbbench.protocol import Clock, Task
from hjbbench.registry import agent


@dataclass(frozen=True)
class RandomConfig:
    """Nothing to set."""


@agent("random", config=RandomConfig())
class Random:
    """Uniformly random actions, learning nothing."""

    def __init__(self, task: Task, env: gym.Env, config: RandomConfig, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._action_dim = env.action_space.shape[0]  # type: ignore[index]

    def learn(self, env: gym.Env, clock: Clock) -> None:
        env.reset()
        while clock.running:
            _, _, terminated, truncated, _ = env.step(self.act(np.zeros(1)))
            clock.tick(steps=1)
            if terminated or truncated:
                clock.checkpoint()
                env.reset()

    def act(self, obs: np.ndarray, *, deterministic: bool = True) -> np.ndarray:
        return self._rng.uniform(-1, 1, (*obs.shape[:-1], self._action_dim)).astype(np.float32)

    def save(self, path: Path) -> None:
        torch.save({"rng": self._rng.bit_generator.state}, path)

    def load(self, path: Path) -> None:
        self._rng.bit_generator.state = torch.load(path, weights_only=True)["rng"]
