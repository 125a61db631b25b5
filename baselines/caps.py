"""CAPS, the penalty on rough policies (Mysore et al. 2021, arXiv 2012.06644)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.networks import SquashedGaussian
from hjbbench.protocol import Task

STRONGER = {"control/pendulum": 10.0}
"""By what factor the published weights of a task are above those of all others."""


@dataclass(frozen=True)
class Caps:
    """temporal/2 mean (pi(s) - pi(s'))^2 + spatial/2 mean (pi(s) - pi(s + noise))^2, pi the deterministic action.

    The weights are those published for SAC on all tasks but the pendulum (AIRLABkhu/ASAP, sac/tests/modules/params.py).
    """

    temporal: float = 0.1
    spatial: float = 0.5
    noise: float = 0.2
    """Standard deviation of the disturbed observation, in units of what the policy sees."""

    def __call__(self, policy: SquashedGaussian, obs: Tensor, next_obs: Tensor) -> Tensor:
        """The penalty, a scalar; obs and next_obs are (n, obs_dim)."""
        disturbed = obs + self.noise * torch.randn_like(obs)
        here, next_, near = policy.mode(torch.cat([obs, next_obs, disturbed])).chunk(3)
        rough = self.temporal * (here - next_).square().mean() + self.spatial * (here - near).square().mean()
        return 0.5 * rough


@dataclass(frozen=True)
class CapsConfig:
    """The settings of an agent's penalty; the weights are tenfold on the pendulum, as published."""

    caps_temporal: float = Caps.temporal
    caps_spatial: float = Caps.spatial
    caps_noise: float = Caps.noise


def caps(task: Task, config: CapsConfig) -> Caps:
    """The penalty on a task: its weights are multiplied where the published ones are."""
    factor = STRONGER.get(task.name, 1.0)
    return Caps(factor * config.caps_temporal, factor * config.caps_spatial, config.caps_noise)
