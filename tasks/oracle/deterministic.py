"""Two plants without noise: the double integrator in least time, and a basin of attraction after Zubov."""

from __future__ import annotations

import torch
from torch import Tensor

from hjbbench.equations import KINK, Equations
from tasks.oracle.eikonal import LeastTime
from tasks.oracle.environment import add_diffusion


class DoubleIntegrator(LeastTime):
    """x'' = u with |u| <= 1, reward rate -1 discounted at 0.2/s, until the origin is less than 0.3 s away.

    The least time to the origin is T = v + 2 sqrt(x + v^2 / 2) right of the switching curve x = -v |v| / 2, mirrored
    left of it (Athans and Falb, Optimal Control, 1966, section 7-2). The target {T <= 0.3}, unlike the origin, is met
    by a control held for a while, and by the principle of optimality it takes T - 0.3 to reach. Errors are measured at
    states (x, v) of the square |x|, |v| <= 1 outside the target; V is sought in the box that holds all optimal paths
    from there. V* has a kink on the switching curve, of infinite slope on one side: errors count 0.05 away from it.
    """

    state_dim, control_dim = 2, 1
    discount_rate, control_bound, extent = 0.2, 1.0, 1.0
    controls = torch.tensor([[-1.0], [0.0], [1.0]])  # a pause makes up for switching between decisions
    target_s = 0.3

    def drift(self, state: Tensor, control: Tensor) -> Tensor:
        return torch.cat([state[:, 1:], control], -1)

    def reward_rate(self, state: Tensor, control: Tensor) -> Tensor:
        return state.new_full((len(state),), -1.0)

    def best_control(self, state: Tensor, gradient: Tensor) -> Tensor:
        return torch.where(gradient[:, 1:] < 0, -1.0, 1.0)

    def margin(self, state: Tensor) -> Tensor:
        """In seconds: under the best control it falls by one per second."""
        x, v = state.unbind(-1)
        side = torch.where(x + v * v.abs() / 2 >= 0, 1.0, -1.0)
        return side * v + 2 * (side * x + v.square() / 2).clamp(min=1e-12).sqrt() - self.target_s

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        # A path from (1, 1) turns at x = 1.5, and brakes from a speed of 1.23.
        return self._outside_target(n, torch.tensor([1.5, 1.25]), rng)

    def start(self, n: int, rng: torch.Generator) -> Tensor:
        return self._outside_target(n, torch.ones(2), rng)

    def probe(self, n: int, rng: torch.Generator) -> Tensor:
        return self.start(n, rng)

    def _outside_target(self, n: int, reach: Tensor, rng: torch.Generator) -> Tensor:
        state = reach * (2 * torch.rand(2 * n + 100, 2, generator=rng) - 1)
        return state[self.margin(state) > 0][:n]  # nine in ten

    def boundary(self, n: int, rng: torch.Generator) -> Tensor:
        v = self.target_s * (2 * torch.rand(n, 1, generator=rng) - 1)
        right = torch.cat([((self.target_s - v) / 2).square() - v.square() / 2, v], 1)
        return torch.where(torch.rand(n, 1, generator=rng) < 0.5, right, -right)

    def smooth(self, state: Tensor) -> Tensor:
        x, v = state.unbind(-1)
        return (x + v * v.abs() / 2).abs() / (1 + v.square()).sqrt() > KINK


class Zubov(Equations):
    """x' = -x + x^3 + u x / 2 with |u| <= 1 and reward rate -x^2, from 0.1 < |x| < 1.1.

    u* = -1, the strongest damping, for which V* = ln((1.5 - x^2) / (1.5 - 0.1^2)) / 2: a controlled Zubov equation
    (Camilli, Gruene and Wirth, 2001), 1 - exp(V*) being the Lyapunov function of the basin |x|^2 < 1.5. The inner end
    pays nothing, the outer one V*.
    """

    state_dim = control_dim = 1
    discount_rate, control_bound, extent = 0.0, 1.0, 1.0
    controls = torch.tensor([[-1.0], [1.0]])
    inner, outer = 0.1, 1.1

    def drift(self, state: Tensor, control: Tensor) -> Tensor:
        return -state + state**3 + control * state / 2

    def reward_rate(self, state: Tensor, control: Tensor) -> Tensor:
        return -state[:, 0].square()

    def best_control(self, state: Tensor, gradient: Tensor) -> Tensor:
        return torch.where(gradient * state < 0, -1.0, 1.0)

    def margin(self, state: Tensor) -> Tensor:
        size = state[:, 0].abs()
        return torch.minimum(size - self.inner, self.outer - size)

    def payoff(self, state: Tensor) -> Tensor:
        return torch.where(state[:, 0].abs() < 0.5, 0.0, self.value(state))

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        size = self.inner + (self.outer - self.inner) * torch.rand(n, 1, generator=rng)
        return torch.where(torch.rand(n, 1, generator=rng) < 0.5, -size, size)

    def boundary(self, n: int, rng: torch.Generator) -> Tensor:
        ends = torch.tensor([-self.outer, -self.inner, self.inner, self.outer])
        return ends[torch.randint(0, 4, (n, 1), generator=rng)]

    def value(self, state: Tensor) -> Tensor:
        return ((1.5 - state[:, 0].square()) / (1.5 - self.inner**2)).log() / 2


add_diffusion("double-integrator", DoubleIntegrator(), 0.025, 10.0, random=-9.178, reference=-1.348)
add_diffusion("zubov", Zubov(), 0.05, 5.0, random=-0.4374, reference=-0.2114)
