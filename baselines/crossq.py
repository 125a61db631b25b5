"""CrossQ (Bhatt et al. 2024, ICLR 2024): batch normalisation instead of target networks."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
from sb3_contrib import CrossQ

from baselines.sb3 import Sb3Agent
from baselines.settings import check
from baselines.warmup import STEPS, ShortEpisodes
from hjbbench.protocol import Task
from hjbbench.registry import agent


@dataclass(frozen=True)
class CrossQConfig:
    """sb3-contrib's defaults, which are the paper's; the discount is the task's."""

    learning_rate: float = 1e-3
    buffer_size: int = 1_000_000
    learning_starts: int = STEPS
    """The shared warm-up; batch statistics of the 100 decisions of sb3-contrib's default say little."""
    batch_size: int = 256
    policy_delay: int = 3

    def __post_init__(self) -> None:
        check(self, zero=("learning_starts",))


@agent("crossq", config=CrossQConfig())
class CrossQAgent(Sb3Agent):
    """CrossQ: one update per decision, batch-normalised critics without targets; sb3-contrib's implementation."""

    def __init__(self, task: Task, env: gym.Env, config: CrossQConfig, seed: int) -> None:
        self.model = CrossQ(
            "MlpPolicy",
            ShortEpisodes(env, config.learning_starts),
            learning_rate=config.learning_rate,
            buffer_size=config.buffer_size,
            learning_starts=config.learning_starts,
            batch_size=config.batch_size,
            policy_delay=config.policy_delay,
            gamma=task.discount,
            seed=seed,
            device="cpu",
        )
