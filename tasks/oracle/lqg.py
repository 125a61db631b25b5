"""The HJB equation of a linear-quadratic-Gaussian control with a logarithmic end, in any dimension."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from hjbbench.equations import Equations
from tasks.oracle.environment import add_diffusion, at_least


class LogarithmicLQG(Equations):
    """dX = 2 m dt + sqrt(2) dW for a second, cost int |m|^2 dt + g(X_1), g(x) = ln((1 + |x|^2) / 2).

    Han, Jentzen and E (2018), equations 13-15 with lambda = 1. With V = -u(t, x): u_t + Lap u = |grad u|^2, and the
    Hopf-Cole transform gives u = -ln E[exp(-g(x + sqrt(2) W_{1-t}))]. The expectation depends on |x| alone; along and
    across x it is a Gauss-Legendre sum each, exact to eight digits or more.

    The state is (t, X). Episodes start from X ~ N(0, I), so that X_t of the uncontrolled process is N(0, (1 + 2t) I);
    that law, at t = 0 and 0.5, is where errors are measured. The control moves X by less than 0.1 in a norm of 10.
    """

    finite_horizon = True
    discount_rate, horizon_s = 0.0, 1.0
    extent = math.inf
    control_bound = 0.5

    def __init__(self, dim: int) -> None:
        self.dim = at_least(dim, 2, "lqg")
        self.state_dim, self.control_dim = dim + 1, dim
        # Under N(0, I) the part of a point along x is standard normal, the length of that across has a chi law.
        nodes, weights = np.polynomial.legendre.leggauss(48)
        middle = math.sqrt(dim - 1)
        z = 9 * nodes
        r = (max(0.0, middle - 9) + middle + 9) / 2 + nodes * (middle + 9 - max(0.0, middle - 9)) / 2
        density = np.outer(weights * stats.norm.pdf(z), weights * stats.chi.pdf(r, dim - 1))
        self._along, self._across = torch.as_tensor(z)[:, None], torch.as_tensor(r)[None].square()
        self._weight = torch.as_tensor(density / density.sum())

    def drift(self, state: Tensor, control: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(state[:, :1]), 2 * control], 1)

    def scale(self, state: Tensor, control: Tensor) -> Tensor:
        out = torch.full_like(state, math.sqrt(2))
        out[:, 0] = 0
        return out

    def reward_rate(self, state: Tensor, control: Tensor) -> Tensor:
        return -control.square().sum(-1)

    def best_control(self, state: Tensor, gradient: Tensor) -> Tensor:
        return gradient[:, 1:]

    def remaining_s(self, state: Tensor) -> Tensor:
        return (self.horizon_s - state[:, 0]).clamp(min=0)

    def payoff(self, state: Tensor) -> Tensor:
        return -torch.log((1 + state[:, 1:].square().sum(-1)) / 2)

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        return self._at(torch.rand(n, 1, generator=rng), rng)

    def start(self, n: int, rng: torch.Generator) -> Tensor:
        return self._at(torch.zeros(n, 1), rng)

    def probe(self, n: int, rng: torch.Generator) -> Tensor:
        return self._at(0.5 * (torch.arange(n)[:, None] % 2), rng)

    def anchor(self) -> Tensor:
        """t = 0, x = 0, where a Deep BSDE starts: u = 4.590162 in 100 dimensions."""
        return torch.zeros(1, self.state_dim)

    def _at(self, t: Tensor, rng: torch.Generator) -> Tensor:
        return torch.cat([t, (1 + 2 * t).sqrt() * torch.randn(len(t), self.dim, generator=rng)], 1)

    def value(self, state: Tensor) -> Tensor:
        state = state.double()
        scale = (2 * self.remaining_s(state)).sqrt()[:, None, None]
        # The norm has no gradient at 0, where the value's is 0.
        norm = state[:, 1:].square().sum(-1).clamp(min=1e-24).sqrt()[:, None, None]
        square = (norm + scale * self._along).square() + scale.square() * self._across
        return (self._weight * 2 / (1 + square)).sum((1, 2)).log()


for _dim, _random, _reference in (
    (10, -3.479, -2.571), (50, -8.471, -4.288), (100, -13.34, -4.999), (200, -22.36, -5.696), (500, -48.27, -6.621)
):  # fmt: skip
    add_diffusion(f"lqg-d{_dim}", LogarithmicLQG(_dim), 0.05, 1.0, _random, _reference)
