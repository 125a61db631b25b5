"""The training environment as the harness hands it to an agent: seeded, checked, recorded."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from hjbbench.errors import Diverged


def checked_action(action: Any, shape: tuple[int, ...]) -> np.ndarray:
    """An action clipped to [-1, 1]; raises Diverged when it is not finite, ValueError when its shape is wrong."""
    action = np.asarray(action, dtype=np.float32)
    if action.shape != shape:
        raise ValueError(f"action has shape {action.shape}, the task needs {shape}")
    if not np.isfinite(action).all():
        raise Diverged(f"the agent's action is not finite: {action.tolist()}")
    return np.clip(action, -1.0, 1.0)


class TrainingEnv(gym.Wrapper):
    """Owns the seed, counts decisions, keeps a row per finished episode, and stops what is not finite.

    The first reset uses the run's training seed whatever the agent asks for; later ones continue that stream.
    """

    def __init__(self, env: gym.Env, dt: float, seed: int, budget_steps: int) -> None:
        super().__init__(env)
        self.dt = dt
        self.n_steps = 0
        self.episodes: list[dict[str, float]] = []
        self._seed: int | None = seed
        self._budget_steps = budget_steps
        self._return = 0.0
        self._length = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._return, self._length = 0.0, 0
        seed, self._seed = self._seed, None
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.n_steps >= self._budget_steps:
            raise RuntimeError(f"the agent stepped past its budget of {self._budget_steps} decisions")
        obs, reward, terminated, truncated, info = self.env.step(checked_action(action, self.action_space.shape or ()))
        reward = float(reward)
        if not (np.isfinite(reward) and np.isfinite(obs).all()):
            raise Diverged(f"the environment left the finite numbers at decision {self.n_steps + 1}")
        self.n_steps += 1
        self._return += reward
        self._length += 1
        if terminated or truncated:
            self.episodes.append(
                {
                    "n_steps": self.n_steps,
                    "t_env_s": self.n_steps * self.dt,
                    "return": self._return,
                    "length_s": self._length * self.dt,
                    "terminated": int(terminated),
                }
            )
        return obs, reward, terminated, truncated, info
