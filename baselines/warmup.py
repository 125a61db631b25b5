"""The shared warm-up: uniformly random decisions in several short episodes instead of one long one."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

STEPS = 1000
"""Random decisions offered to every agent."""
EPISODES = 5
"""Episodes they are spread over. A robot that ends its one random episode on its back teaches an agent only that."""


class ShortEpisodes(gym.Wrapper):
    """Truncates the episodes of the first ``steps`` decisions so that at least ``episodes`` are begun.

    ``taken`` decisions were taken before, in a run that goes on from a checkpoint.
    """

    def __init__(self, env: gym.Env, steps: int, episodes: int = EPISODES, taken: int = 0) -> None:
        super().__init__(env)
        self.steps = steps
        self.length = max(1, steps // episodes)
        self.taken = taken
        self._since_reset = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._since_reset = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.taken += 1
        self._since_reset += 1
        if self.taken <= self.steps and self._since_reset == self.length:
            truncated = truncated or not terminated
        return obs, reward, terminated, truncated, info
