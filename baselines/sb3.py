"""What the agents built on Stable-Baselines3 share: the clock's callback, acting, saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from hjbbench.protocol import Clock


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


class Sb3Agent:
    """An agent around a Stable-Baselines3 off-policy algorithm; the subclass builds ``model``."""

    model: OffPolicyAlgorithm

    def learn(self, env: gym.Env, clock: Clock) -> None:
        self.model.learn(clock.budget_steps, callback=TickClock(clock))

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
        torch.save(self.model.policy.state_dict(), path)

    def load(self, path: Path) -> None:
        self.model.policy.load_state_dict(torch.load(path, weights_only=True))
