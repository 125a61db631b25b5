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
    Between two episodes an environment is its generators and nothing else: that is what ``state`` keeps.
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
        self._before_reset: dict[str, Any] = {}
        self._to_reset = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._return, self._length, self._to_reset = 0.0, 0, False
        self._before_reset = self._generator_states()
        seed, self._seed = self._seed, None
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.n_steps >= self._budget_steps:
            raise RuntimeError(f"the agent stepped past its budget of {self._budget_steps} decisions")
        if self._to_reset:
            raise RuntimeError("the agent offered a checkpoint in the middle of an episode: it went on without a reset")
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

    def state(self) -> dict[str, Any]:
        """What ``resume`` needs so that the next reset is the one that is due, or the one that was just made."""
        self._to_reset = self._length > 0
        states = self._generator_states() if self._to_reset else self._before_reset
        return {
            "n_steps": self.n_steps,
            "episodes": self.episodes,
            "generators": states,
            "action_space": self.action_space.np_random.bit_generator.state,
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from what ``state`` returned, in a new environment."""
        self.env.reset(seed=self._seed)  # whose generators may not exist before
        self._seed = None
        self.n_steps, self.episodes = state["n_steps"], list(state["episodes"])
        for name, generator in self._generators().items():
            generator.bit_generator.state = state["generators"][name]
        self.action_space.np_random.bit_generator.state = state["action_space"]

    def _generators(self) -> dict[str, np.random.Generator]:
        """Every numpy generator of the environment and its wrappers."""
        found = {}
        layer: Any = self.env
        while layer is not None:
            for name, value in vars(layer).items():
                if isinstance(value, np.random.Generator):
                    found[f"{type(layer).__name__}.{name}"] = value
            layer = layer.env if isinstance(layer, gym.Wrapper) else None
        return found

    def _generator_states(self) -> dict[str, Any]:
        return {name: generator.bit_generator.state for name, generator in self._generators().items()}
