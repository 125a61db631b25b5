"""Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905), Stable-Baselines3's implementation untouched."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
from stable_baselines3 import SAC

from baselines.sb3 import Sb3Agent
from baselines.settings import check
from baselines.soft_actor_critic import FIRST_TEMPERATURE, LEARNING_RATE, TAU
from hjbbench.protocol import Task
from hjbbench.registry import agent


@dataclass(frozen=True)
class SacConfig:
    """Stable-Baselines3's defaults but for learning rate, Polyak rate and first temperature; the task's discount."""

    learning_rate: float = LEARNING_RATE
    buffer_size: int = 1_000_000
    learning_starts: int = 100
    batch_size: int = 256
    tau: float = TAU
    train_freq: int = 1
    gradient_steps: int = 1
    net_arch: tuple[int, ...] = (256, 256)
    first_temperature: float = FIRST_TEMPERATURE

    def __post_init__(self) -> None:
        check(self, zero=("learning_starts",))


@agent("sac", config=SacConfig())
class Sac(Sb3Agent):
    """Stable-Baselines3's SAC, tuned on the development tasks: the model-free yardstick."""

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
            ent_coef=f"auto_{config.first_temperature}",
            policy_kwargs={"net_arch": list(config.net_arch)},
            seed=seed,
            device="cpu",
        )
