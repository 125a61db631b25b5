"""The shared warm-up: uniformly random decisions, and several short episodes first instead of a long one."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

STEPS = 1000
"""Random decisions offered to every agent; all that learn take them but sac, which does better with a hundred
(docs/tuning-baselines.md, 9, 10 and 45), and sac-time-aware."""
EPISODES = 5
"""Episodes they are spread over. A robot that ends its one random episode on its back teaches an agent only that."""
SHORT_FOR = 3
"""Warm-ups for which episodes stay that short: first policies fall on their backs as random actions do, and would lie
there for the rest of an episode. diffusion-hjb takes the same (hjbbench.hjb.config, short_until)."""


class ShortEpisodes(gym.Wrapper):
    """Truncates episodes to a share of a warm-up of ``steps`` decisions, for ``SHORT_FOR`` times as long.

    The share is one of ``episodes``. ``taken`` decisions were taken before, in a run that goes on from a checkpoint.
    """

    def __init__(self, env: gym.Env, steps: int, episodes: int = EPISODES, taken: int = 0) -> None:
        super().__init__(env)
        self.until = SHORT_FOR * steps
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
        if self.taken <= self.until and self._since_reset == self.length:
            truncated = truncated or not terminated
        return obs, reward, terminated, truncated, info
