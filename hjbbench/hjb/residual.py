"""The law of the standardised residual as a diffusion model in trigonometric coordinates.

z_t = cos(t) z + sin(t) e runs from data (t = 0) to noise (t = pi/2). The field F(z_t, t, c) regresses the velocity
cos(t) e - sin(t) z, and dz/dt = F is the probability flow (Lu and Song, arXiv 2410.11081, TrigFlow). For a standard
normal residual F = 0: a field that starts at zero is exactly the Gaussian generator, and sampling errors are
proportional to how far from Gaussian the residual is. At t = pi/2, F = -E[z] = 0, so the first Euler step is free.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hjbbench.hjb.networks import Ensemble, fused_adam

BOUND = 8.0
"""Residuals are clipped to this many standard deviations; beyond it a batch says nothing about their law."""


class ResidualField:
    """F(z_t, t | condition) for residuals (n, size) under conditions (n, condition_size)."""

    def __init__(self, condition_size: int, size: int, width: int, lr: float, rng: torch.Generator) -> None:
        self.size = size
        self.net = Ensemble(1, condition_size + size + 2, size, width, 2, rng, zero_output=True)
        self.optimiser = fused_adam(self.net.parameters(), lr)
        self.gain, self.offset = torch.ones(size, device=rng.device), torch.zeros(size, device=rng.device)

    def velocity(self, z: Tensor, t: Tensor | float, condition: Tensor) -> Tensor:
        """F (n, size) at flow time t, a scalar or (n, 1) in [0, pi/2]."""
        angle = torch.as_tensor(t, device=z.device).expand(len(z), 1)
        return self.net(torch.cat([condition, z, angle.cos(), angle.sin()], -1))[0]

    def fit(self, z: Tensor, condition: Tensor, rng: torch.Generator) -> None:
        """One flow-matching step on standardised residuals z."""
        t = torch.rand(len(z), 1, generator=rng, device=z.device) * (math.pi / 2)
        noise = torch.randn(z.shape, generator=rng, device=z.device)
        cos, sin = t.cos(), t.sin()
        z = z.clamp(-BOUND, BOUND)
        predicted = self.net(torch.cat([condition, cos * z + sin * noise, cos, sin], -1))[0]
        loss = (predicted - (cos * noise - sin * z)).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    @torch.no_grad()
    def sample(self, noise: Tensor, condition: Tensor, calls: int) -> Tensor:
        """Residuals driven by standard normal ``noise`` (..., n, size) under n conditions.

        ``calls`` network calls; none leaves the noise as it is, Gaussian.
        """
        if not calls:
            return noise
        step = math.pi / 2 / (calls + 1)
        z, condition = noise.flatten(0, -2), condition.expand(*noise.shape[:-1], -1).flatten(0, -2)
        for k in range(1, calls + 1):
            z = z - step * self.velocity(z, math.pi / 2 - k * step, condition)
        return torch.addcmul(self.offset, z.clamp(-BOUND, BOUND), self.gain).view_as(noise)

    @torch.no_grad()
    def match_moments(self, z: Tensor, condition: Tensor, calls: int, rng: torch.Generator) -> None:
        """Make samples as wide as the residuals z (n, size): a few Euler steps narrow a skewed law."""
        self.gain, self.offset = torch.ones_like(self.gain), torch.zeros_like(self.offset)
        z = z.clamp(-BOUND, BOUND)
        drawn = self.sample(torch.randn(z.shape, generator=rng, device=z.device), condition, calls)
        # Within a factor of two: beyond it the field is wrong, which the forecasts must show and no gain may hide.
        self.gain = (z.std(0) / drawn.std(0)).clamp(0.5, 2.0)
        self.offset = z.mean(0) - self.gain * drawn.mean(0)

    def state_dict(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "gain": self.gain,
            "offset": self.offset,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.gain, self.offset = state["gain"], state["offset"]


def energy_score(samples: Tensor, truth: Tensor) -> Tensor:
    """Energy score of two samples per case, (2, n, d), against what happened, (n, d): (n,), lower is better.

    E|X - y| - E|X - X'|/2 (Gneiting and Raftery, 2007, eq. 22): in expectation least for the true law.
    """
    miss = (samples - truth).norm(dim=-1).mean(0)
    return miss - (samples[0] - samples[1]).norm(dim=-1) / 2


def energy_distance(x: Tensor, y: Tensor) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of two samples (n, d), (m, d); 0 in expectation for equal laws."""

    def spread(a: Tensor) -> Tensor:
        return torch.cdist(a, a).sum() / (len(a) * (len(a) - 1))

    return (2 * torch.cdist(x, y).mean() - spread(x) - spread(y)).item()
