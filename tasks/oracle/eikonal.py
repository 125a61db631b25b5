"""Eikonal problems: leave the domain as soon as possible; V* has a kink where two ways out are equally long."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hjbbench.equations import KINK, Equations
from tasks.oracle.environment import add_diffusion, at_least


class LeastTime(Equations):
    """Reward rate -1 until the domain is left, discounted, where ``margin`` is the least time that takes."""

    def reward_rate(self, state: Tensor, control: Tensor) -> Tensor:
        return state.new_full((len(state),), -1.0)

    def value(self, state: Tensor) -> Tensor:
        return torch.expm1(-self.discount_rate * self.margin(state)) / self.discount_rate


class Eikonal(LeastTime):
    """dx = u dt with |u_i| <= 1 in the box |x_i| < 1, reward rate -1 until the box is left, discounted at rho.

    The time to the boundary is 1 - max_i |x_i|, so V* = -(1 - exp(-rho (1 - max_i |x_i|))) / rho, the viscosity
    solution of rho V = |V_x|_1 - 1. Its kinks are where the maximum changes hands and, in one dimension, at 0.
    """

    control_bound, extent = 1.0, 1.0
    discount_rate = 0.2

    def __init__(self, dim: int) -> None:
        self.state_dim = self.control_dim = at_least(dim, 1, "eikonal")
        signs = torch.tensor([-1.0, 1.0])
        self.controls = torch.cartesian_prod(*[signs] * dim).view(-1, dim)

    def drift(self, state: Tensor, control: Tensor) -> Tensor:
        return control

    def best_control(self, state: Tensor, gradient: Tensor) -> Tensor:
        return torch.where(gradient < 0, -1.0, 1.0)

    def margin(self, state: Tensor) -> Tensor:
        return 1 - state.abs().amax(-1)

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        return 2 * torch.rand(n, self.state_dim, generator=rng) - 1

    def boundary(self, n: int, rng: torch.Generator) -> Tensor:
        inside = self.sample(n, rng)
        return inside / inside.abs().amax(-1, keepdim=True)

    def smooth(self, state: Tensor) -> Tensor:
        size = state.abs()
        if self.state_dim == 1:
            return size[:, 0] > KINK
        first, second = size.topk(2, -1).values.unbind(-1)
        # The hyperplanes |x_i| = |x_j| are (first - second) / sqrt(2) away; that of x_i = 0 only where all are small.
        return (first - second) / math.sqrt(2) > KINK


class NoisyEikonal(Eikonal):
    """dx = u dt + sqrt(2 eps) dW with |u| <= 1 on |x| < 1 and eps = 0.05: reward rate -1 until the end is reached.

    eps V'' + |V'| = 1 has the solution V* = -((1 - |x|) - eps (exp(-|x| / eps) - exp(-1 / eps))).
    """

    discount_rate = 0.0
    eps = 0.05

    def __init__(self) -> None:
        super().__init__(1)
        self.controls = None  # the noise smooths the kink

    def scale(self, state: Tensor, control: Tensor) -> Tensor:
        return torch.full_like(state, math.sqrt(2 * self.eps))

    def value(self, state: Tensor) -> Tensor:
        size = state[:, 0].abs()
        return -(1 - size) + self.eps * (torch.exp(-size / self.eps) - math.exp(-1 / self.eps))


add_diffusion("eikonal-d1", Eikonal(1), 0.05, 5.0, random=-4.292, reference=-0.4991)
add_diffusion("eikonal-d2", Eikonal(2), 0.05, 5.0, random=-3.697, reference=-0.3325)
add_diffusion("eikonal-d3", Eikonal(3), 0.05, 5.0, random=-3.219, reference=-0.2512)
add_diffusion("eikonal-noisy", NoisyEikonal(), 0.02, 4.0, random=-2.606, reference=-0.4991)
