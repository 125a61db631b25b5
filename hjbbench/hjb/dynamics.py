"""What the value flow and the Hamiltonian argmax know of the dynamics: a controlled diffusion they can sample.

    ds = b(s, a) dt + g(s, a) dW,   reward rate r(s, a),   episodes end on a known set.

The learned generator is one, a plant with known equations is another.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Step(NamedTuple):
    """One decision of ``dt`` seconds for n states."""

    next_state: Tensor
    """(n, obs_dim)."""
    reward: Tensor
    """(n,), the amount earned over the decision."""
    terminated: Tensor
    """(n,), bool."""


class Dynamics(Protocol):
    """A generator of the controlled dynamics at a fixed ``dt``; states (n, obs_dim), actions (n, action_dim)."""

    dt: float
    """Seconds per decision."""

    def noise(self, n_steps: int, n: int, rng: torch.Generator, antithetic: bool = False) -> Tensor:
        """Driving noise (n_steps, n, noise_dim); antithetic: rows 2i and 2i+1 carry opposite noise."""
        ...

    def kick(self, state: Tensor, action: Tensor, noise: Tensor) -> Tensor:
        """What ``noise`` (..., n, noise_dim) does to the decisions, as ``step`` takes it; no gradient."""
        ...

    def step(self, state: Tensor, action: Tensor, kick: Tensor) -> Step:
        """One decision, differentiable in state and action. Row blocks may belong to different ensemble members."""
        ...

    def drift(self, state: Tensor, action: Tensor) -> Tensor:
        """b = E[ds]/dt, (n, obs_dim)."""
        ...

    def scale(self, state: Tensor, action: Tensor) -> Tensor:
        """Diagonal g with Cov[ds] = g^2 dt, (n, obs_dim)."""
        ...

    def reward_rate(self, state: Tensor, action: Tensor) -> Tensor:
        """Reward per second, (n,)."""
        ...


def paired_noise(n_steps: int, n: int, size: int, rng: torch.Generator, antithetic: bool) -> Tensor:
    """Standard normal noise (n_steps, n, size); antithetic: rows 2i and 2i+1 are each other's negative."""
    if not antithetic:
        return torch.randn(n_steps, n, size, generator=rng, device=rng.device)
    half = torch.randn(n_steps, (n + 1) // 2, size, generator=rng, device=rng.device)
    return torch.stack([half, -half], 2).flatten(1, 2)[:, :n]
