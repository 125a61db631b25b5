"""MBPO with the CAPS penalty: what smoothness costs a model-based agent that is asked for it."""

from __future__ import annotations

from dataclasses import dataclass

from baselines.caps import Caps, caps
from baselines.mbpo import RESOURCES, Mbpo, MbpoConfig
from baselines.soft_actor_critic import Penalty
from hjbbench.registry import agent


@dataclass(frozen=True)
class MbpoCapsConfig(MbpoConfig):
    """MBPO's settings and the weights published for SAC with CAPS; s' is the model's on imagined transitions."""

    caps_temporal: float = Caps.temporal
    """Weights are tenfold on the pendulum, as published."""
    caps_spatial: float = Caps.spatial
    caps_noise: float = Caps.noise


@agent("mbpo-caps", config=MbpoCapsConfig(), resources=lambda config: RESOURCES)
class MbpoCaps(Mbpo):
    """MBPO with the CAPS penalty on action changes, so that smoothness is compared between agents that try."""

    config: MbpoCapsConfig

    def _penalty(self) -> Penalty:
        return caps(self.task, self.config.caps_temporal, self.config.caps_spatial, self.config.caps_noise)
