"""MBPO with the CAPS penalty: what smoothness costs a model-based agent that is asked for it."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym

from baselines.caps import Caps
from baselines.mbpo import RESOURCES, Mbpo, MbpoConfig
from baselines.soft_actor_critic import Penalty
from hjbbench.protocol import Task
from hjbbench.registry import agent


@dataclass(frozen=True)
class MbpoCapsConfig(MbpoConfig):
    """MBPO's settings and the weights published for SAC with CAPS; s' is the model's on imagined transitions."""

    caps_temporal: float = Caps.temporal
    caps_spatial: float = Caps.spatial
    caps_noise: float = Caps.noise


@agent("mbpo-caps", config=MbpoCapsConfig(), resources=lambda config: RESOURCES)
class MbpoCaps(Mbpo):
    """MBPO with the CAPS penalty on action changes, so that smoothness is compared between agents that try."""

    def __init__(self, task: Task, env: gym.Env, config: MbpoCapsConfig, seed: int) -> None:
        self.caps = Caps(config.caps_temporal, config.caps_spatial, config.caps_noise)
        super().__init__(task, env, config, seed)

    def _penalty(self) -> Penalty:
        return self.caps
