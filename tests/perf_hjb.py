"""What a decision of the diffusion-HJB agent costs on one core, beside Stable-Baselines3's SAC in the same run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from stable_baselines3 import SAC

from hjbbench.registry import get_agent, get_task
from tests.perf_baselines import best_seconds

TASK = "locomotion/hopper"
DECISIONS = 20
"""Decisions per stretch: one distribution rollout falls into each."""


class _Limit:
    """A clock that stops after so many decisions and takes nothing down."""

    def __init__(self, n_steps: int) -> None:
        self.left = n_steps
        self.budget_steps = 25_000

    @property
    def running(self) -> bool:
        return self.left > 0

    def tick(self, steps: int = 0, updates: int = 0) -> bool:
        self.left -= steps
        return self.running

    def record(self, values: dict[str, float]) -> None:
        """Diagnostics are not part of a decision."""

    def checkpoint(self) -> None:
        """Neither are checkpoints."""


def _diffusion_hjb() -> Callable[[], object]:
    task, entry = get_task(TASK), get_agent("diffusion-hjb")
    config = dataclasses.replace(entry.config, generator_first_updates=200, policy_first_updates=100)
    env = task.make()
    env.reset(seed=0)
    agent = entry.factory(task, env, config, 0)
    agent.learn(env, _Limit(config.warmup_steps + 200))
    return lambda: agent.learn(env, _Limit(DECISIONS))


def _sac() -> Callable[[], object]:
    task = get_task(TASK)
    model = SAC("MlpPolicy", task.make(), gamma=task.discount, seed=0, device="cpu")
    model.learn(300)
    return lambda: model.learn(DECISIONS, reset_num_timesteps=False)


def step_ms(seconds: float = 20.0) -> dict[str, float]:
    """Milliseconds per decision, environment and learning included, in turns: {"diffusion-hjb", "sac"}."""
    stretches = {"diffusion-hjb": _diffusion_hjb(), "sac": _sac()}
    best = dict.fromkeys(stretches, float("inf"))
    for _ in range(4):  # in turns, so that load hits both alike
        for name, stretch in stretches.items():
            best[name] = min(best[name], best_seconds(stretch, seconds / 8))
    return {name: 1000 * value / DECISIONS for name, value in best.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(step_ms())
