"""Soft actor-critic with the CAPS penalty: what smoothness costs a model-free agent that is asked for it."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym

from baselines.caps import CapsConfig, caps
from baselines.settings import check
from baselines.soft_actor_critic import FIRST_TEMPERATURE, LEARNING_RATE, TAU, SoftActorCritic, SoftActorCriticConfig
from baselines.soft_agent import SoftActorCriticAgent
from baselines.warmup import STEPS
from hjbbench.protocol import Task
from hjbbench.registry import agent


@dataclass(frozen=True)
class SacCapsConfig(CapsConfig):
    """SAC as ``sac`` has it, the penalty's weights as published; the discount is the task's."""

    warmup_steps: int = STEPS
    """The shared warm-up."""
    hidden: tuple[int, ...] = (256, 256)
    learning_rate: float = LEARNING_RATE
    tau: float = TAU
    batch_size: int = 256
    first_temperature: float = FIRST_TEMPERATURE

    def __post_init__(self) -> None:
        check(self, zero=("caps_temporal", "caps_spatial", "caps_noise"))


@agent("sac-caps", config=SacCapsConfig())
class SacCaps(SoftActorCriticAgent):
    """SAC with the CAPS penalty on action changes, so that smoothness is compared between agents that try."""

    def __init__(self, task: Task, env: gym.Env, config: SacCapsConfig, seed: int) -> None:
        super().__init__(task, env, seed, config.warmup_steps, config.batch_size)
        self.learner = SoftActorCritic(
            self.obs_dim,
            self.action_dim,
            SoftActorCriticConfig(
                task.discount,
                -float(self.action_dim),
                config.hidden,
                config.learning_rate,
                config.tau,
                first_temperature=config.first_temperature,
            ),
            caps(task, config),
        )
