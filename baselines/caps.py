"""CAPS, the penalty on rough policies (Mysore et al. 2021, arXiv 2012.06644)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.networks import SquashedGaussian
from hjbbench.protocol import Task

NOISE = 0.2
WEIGHTS = {"pendulum": (1.0, 5.0)}
"""Published weights (temporal, spatial) for SAC by plant, where they are not ``OTHER_WEIGHTS``
(AIRLABkhu/ASAP, sac/tests/modules/params.py)."""
OTHER_WEIGHTS = (0.1, 0.5)


@dataclass(frozen=True)
class Caps:
    """temporal/2 mean (pi(s) - pi(s'))^2 + spatial/2 mean (pi(s) - pi(s + noise))^2, pi the deterministic action."""

    temporal: float
    spatial: float
    noise: float = NOISE
    """Standard deviation of the disturbed observation, in units of what the policy sees."""

    def __call__(self, policy: SquashedGaussian, obs: Tensor, next_obs: Tensor) -> Tensor:
        """The penalty, a scalar; obs and next_obs are (n, obs_dim)."""
        disturbed = obs + self.noise * torch.randn_like(obs)
        here, next_, near = policy.mode(torch.cat([obs, next_obs, disturbed])).chunk(3)
        rough = self.temporal * (here - next_).square().mean() + self.spatial * (here - near).square().mean()
        return 0.5 * rough


def caps(task: Task, temporal: float | None, spatial: float | None, noise: float) -> Caps:
    """The penalty on a task, with the published weight for None."""
    published = WEIGHTS.get(task.name.split("/")[-1], OTHER_WEIGHTS)
    return Caps(published[0] if temporal is None else temporal, published[1] if spatial is None else spatial, noise)
