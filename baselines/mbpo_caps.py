"""MBPO with the CAPS penalty: what smoothness costs a model-based agent that is asked for it."""

from __future__ import annotations

from dataclasses import dataclass

from baselines.caps import CapsConfig, caps
from baselines.mbpo import RESOURCES, Mbpo, MbpoConfig
from baselines.soft_actor_critic import Penalty
from hjbbench.registry import agent


@dataclass(frozen=True)
class MbpoCapsConfig(CapsConfig, MbpoConfig):
    """MBPO's settings and the weights published for SAC with CAPS; s' is the model's on imagined transitions."""


@agent("mbpo-caps", config=MbpoCapsConfig(), resources=lambda config: RESOURCES)
class MbpoCaps(Mbpo):
    """MBPO with the CAPS penalty on action changes, so that smoothness is compared between agents that try."""

    config: MbpoCapsConfig

    def _penalty(self) -> Penalty:
        return caps(self.task, self.config)
