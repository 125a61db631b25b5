"""Diffusions in a ball |x| < 1, left through its surface: the problems of Zhou, Han and Lu (2021, section 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hjbbench.equations import Equations
from hjbbench.errors import UserError
from tasks.oracle.environment import add_diffusion, at_least


class InBall(Equations):
    """Starts uniformly in the unit ball."""

    extent = 1.0
    spread = math.sqrt(2)
    """g, the same in all directions."""

    def scale(self, state: Tensor, control: Tensor) -> Tensor:
        return torch.full_like(state, self.spread)

    def margin(self, state: Tensor) -> Tensor:
        return 1 - state.norm(dim=-1)

    def payoff(self, state: Tensor) -> Tensor:
        return self.value(state)

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.rand(n, 1, generator=rng) ** (1 / self.state_dim) * self.boundary(n, rng)

    def boundary(self, n: int, rng: torch.Generator) -> Tensor:
        direction = torch.randn(n, self.state_dim, generator=rng)
        return direction / direction.norm(dim=-1, keepdim=True)


class StaticLQ(InBall):
    """dx = u dt + sqrt(2) dW, cost rate |x|^2 + |u|^2 - 2 k d, discounted at 1/s; leaving costs k.

    V* = -k |x|^2 with k = (sqrt(5) - 1) / 2, and u* = -k x.
    """

    discount_rate, control_bound = 1.0, 1.0
    k = (math.sqrt(5) - 1) / 2

    def __init__(self, dim: int) -> None:
        self.state_dim = self.control_dim = at_least(dim, 1, "static-lq")

    def drift(self, state: Tensor, control: Tensor) -> Tensor:
        return control

    def reward_rate(self, state: Tensor, control: Tensor) -> Tensor:
        return 2 * self.k * self.state_dim - state.square().sum(-1) - control.square().sum(-1)

    def best_control(self, state: Tensor, gradient: Tensor) -> Tensor:
        return gradient / 2

    def payoff(self, state: Tensor) -> Tensor:
        return state.new_full((len(state),), -self.k)

    def value(self, state: Tensor) -> Tensor:
        return -self.k * state.square().sum(-1)


class ControlledNoise(StaticLQ):
    """dx_i = u_i dt + sqrt(2) (1 + x_i u_i / 2) dW_i with |u_i| <= 1: steering to the centre calms the noise as well.

    The cost rate |u|^2 + c(x), discounted at 1/s, is made so that V* = -k |x|^2 as in the static problem, which leaving
    pays as well; with e = 1/2, u* = -k (1 + 2 e) x / (1 + 2 k e^2 x^2) component by component. The Hamiltonian's
    maximiser depends on the diagonal of V_xx: the equation is fully non-linear.
    """

    noise_controlled = True
    strength = 0.5
    """e."""

    def scale(self, state: Tensor, control: Tensor) -> Tensor:
        return self.spread * (1 + self.strength * state * control)

    def reward_rate(self, state: Tensor, control: Tensor) -> Tensor:
        # The HJB equation solved for c, with the maximum over u put in.
        e, square = self.strength, state.square()
        best = (self.k * (1 + 2 * e)) ** 2 * square / (1 + 2 * self.k * e**2 * square) - 2 * self.k
        return -control.square().sum(-1) - best.sum(-1) - self.discount_rate * self.k * square.sum(-1)

    def best_curved_control(self, state: Tensor, gradient: Tensor, curvature: Tensor) -> Tensor:
        # -u^2 + u V_x + (1 + e x u)^2 V_xx is concave as long as V_xx is not too positive, and then largest at an end.
        push = self.strength * state * curvature
        return ((gradient + 2 * push) / (2 - 2 * self.strength * state * push).clamp(min=0.5)).clamp(-1, 1)


class VanDerPolRing(InBall):
    """Van der Pol oscillators in a ring: dx_i = v_i dt, dv_i = ((1 - x_i^2) v_i - x_i + u_i) dt, all with sqrt(2) dW.

    The state is (x, v), d / 2 each. The cost rate |u|^2 + c(x, v), discounted at 1/s, is made so that
    V* = -(|x|^2 + |v|^2 - 0.1 sum_i (x_i x_{i+1} + v_i v_{i+1})), which leaving pays as well.
    """

    discount_rate, control_bound = 1.0, 2.0
    coupling = 0.1

    def __init__(self, dim: int) -> None:
        if at_least(dim, 4, "van-der-pol") % 2:
            raise UserError(f"van-der-pol: dim is {dim}, must be even: a position and a velocity each")
        self.state_dim, self.control_dim = dim, dim // 2

    def _plant(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return v, (1 - x.square()) * v - x

    def _slope(self, x: Tensor) -> Tensor:
        """Of -V* in one block of coordinates."""
        return 2 * x - self.coupling * (x.roll(1, -1) + x.roll(-1, -1))

    def drift(self, state: Tensor, control: Tensor) -> Tensor:
        dx, dv = self._plant(*state.chunk(2, -1))
        return torch.cat([dx, dv + control], -1)

    def reward_rate(self, state: Tensor, control: Tensor) -> Tensor:
        x, v = state.chunk(2, -1)
        (dx, dv), slope_x, slope_v = self._plant(x, v), self._slope(x), self._slope(v)
        # The HJB equation solved for c: the Hamiltonian's maximum over u is -c + |slope_v|^2 / 4 - ...
        drifting = (dx * slope_x + dv * slope_v - slope_v.square() / 4).sum(-1) + 2 * self.state_dim
        return drifting + self.discount_rate * self.value(state) - control.square().sum(-1)

    def best_control(self, state: Tensor, gradient: Tensor) -> Tensor:
        return gradient[:, self.control_dim :] / 2

    def value(self, state: Tensor) -> Tensor:
        x = state.view(-1, 2, self.control_dim)
        return -(x.square() - self.coupling * x * x.roll(-1, -1)).sum((1, 2))


class DiffusiveEikonal(InBall):
    """dx = c(|x|) u dt + dW / sqrt(1.2 d) with |u| <= 1, reward rate -1 until the ball is left.

    The speed c = 0.25 (d + 1) / d / (2.4 - 0.6 |x|) makes V* = 1.2 |x|^2 - 0.2 |x|^3 - 1, with u* = x / |x|.
    """

    discount_rate, control_bound = 0.0, 1.0

    def __init__(self, dim: int) -> None:
        self.state_dim = self.control_dim = at_least(dim, 1, "diffusive-eikonal")
        self.spread = 1 / math.sqrt(1.2 * dim)

    def drift(self, state: Tensor, control: Tensor) -> Tensor:
        d, radius = self.state_dim, state.norm(dim=-1, keepdim=True).clamp(max=1)
        size = control.norm(dim=-1, keepdim=True).clamp(min=1)
        return 0.25 * (d + 1) / d / (2.4 - 0.6 * radius) * control / size

    def reward_rate(self, state: Tensor, control: Tensor) -> Tensor:
        return state.new_full((len(state),), -1.0)

    def best_control(self, state: Tensor, gradient: Tensor) -> Tensor:
        return gradient / gradient.norm(dim=-1, keepdim=True).clamp(min=1e-9)

    def payoff(self, state: Tensor) -> Tensor:
        return state.new_zeros(len(state))

    def value(self, state: Tensor) -> Tensor:
        square = state.square().sum(-1)
        return 1.2 * square - 0.2 * square.clamp(min=1e-24) ** 1.5 - 1


for _dim, _random, _reference in ((5, -0.5016, -0.4514), (10, -0.5483, -0.5186), (20, -0.5791, -0.5626)):
    # An uncontrolled path leaves the ball after 1 / (2 d) s: ten decisions or so.
    add_diffusion(f"static-lq-d{_dim}", StaticLQ(_dim), 0.05 / _dim, 4 / _dim, _random, _reference)
for _dim, _random, _reference in ((2, -0.475, -0.3764), (5, -0.522, -0.465)):
    add_diffusion(f"control-noise-d{_dim}", ControlledNoise(_dim), 0.05 / _dim, 4 / _dim, _random, _reference)
for _dim, _random, _reference in ((4, -0.7988, -0.6883), (10, -0.8944, -0.8388), (20, -0.9407, -0.91)):
    add_diffusion(f"van-der-pol-d{_dim}", VanDerPolRing(_dim), 0.05 / _dim, 4 / _dim, _random, _reference)
for _dim, _random, _reference in ((2, -0.5989, -0.4782), (5, -0.337, -0.2661), (10, -0.1981, -0.1543)):
    add_diffusion(f"diffusive-eikonal-d{_dim}", DiffusiveEikonal(_dim), 0.02, 4.0, _random, _reference)
