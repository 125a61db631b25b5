"""Truncated quantile critics (Kuznetsov et al. 2020, arXiv 2005.04269)."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
from sb3_contrib import TQC

from baselines.sb3 import Sb3Agent
from baselines.settings import check
from baselines.soft_actor_critic import FIRST_TEMPERATURE, LEARNING_RATE, TAU
from baselines.warmup import STEPS, ShortEpisodes
from hjbbench.protocol import Task
from hjbbench.registry import agent


@dataclass(frozen=True)
class TqcConfig:
    """sb3-contrib's defaults but for warm-up, learning rate, Polyak rate and first temperature; the task's discount."""

    learning_rate: float = LEARNING_RATE
    buffer_size: int = 1_000_000
    learning_starts: int = STEPS
    """The shared warm-up."""
    batch_size: int = 256
    tau: float = TAU
    dropped_quantiles: int = 2
    """Highest quantiles dropped per critic, against overestimation."""
    first_temperature: float = FIRST_TEMPERATURE

    def __post_init__(self) -> None:
        check(self, zero=("learning_starts", "dropped_quantiles"))


@agent("tqc", config=TqcConfig())
class Tqc(Sb3Agent):
    """TQC: SAC with distributional critics whose highest quantiles are dropped; sb3-contrib's implementation."""

    def __init__(self, task: Task, env: gym.Env, config: TqcConfig, seed: int) -> None:
        self.model = TQC(
            "MlpPolicy",
            ShortEpisodes(env, config.learning_starts),
            learning_rate=config.learning_rate,
            buffer_size=config.buffer_size,
            learning_starts=config.learning_starts,
            batch_size=config.batch_size,
            tau=config.tau,
            top_quantiles_to_drop_per_net=config.dropped_quantiles,
            gamma=task.discount,
            ent_coef=f"auto_{config.first_temperature}",
            seed=seed,
            device="cpu",
        )
