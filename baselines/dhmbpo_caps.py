"""DHMBPO with the CAPS penalty: what smoothness costs the strongest model-based agent that is asked for it."""

from __future__ import annotations

from dataclasses import dataclass

from baselines.caps import CapsConfig, caps
from baselines.dhmbpo import Dhmbpo, DhmbpoConfig, undiscounted
from baselines.soft_actor_critic import Penalty
from hjbbench.registry import agent


@dataclass(frozen=True)
class DhmbpoCapsConfig(CapsConfig, DhmbpoConfig):
    """DHMBPO's settings and the weights published for SAC with CAPS; states are standardised, s' is the model's."""


@agent("dhmbpo-caps", config=DhmbpoCapsConfig(), refuses=undiscounted)
class DhmbpoCaps(Dhmbpo):
    """DHMBPO with the CAPS penalty on action changes, so that smoothness is compared between agents that try."""

    config: DhmbpoCapsConfig

    def _penalty(self) -> Penalty:
        return caps(self.task, self.config)
