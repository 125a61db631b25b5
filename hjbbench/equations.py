"""Known equations of a controlled diffusion: what a solver is given and a learner never sees.

    dx = b(x, u) dt + g(x, u) dW,   reward rate r(x, u),   discount rate rho,

until x leaves the domain or its time is up, which pays ``payoff``. The value V* = sup_u E[int e^{-rho s} r ds +
e^{-rho tau} payoff] is the viscosity solution of rho V = max_u { r + b V_x + g^2 V_xx / 2 } with V = payoff at the end.
Everything is in torch, differentiable, in the caller's precision; states are (n, state_dim), controls (n, control_dim).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

KINK = 0.05
"""Distance from a kink of V* within which errors do not count."""
NO_CROSSING = 8.0
"""As the last component of a step's noise: a path that ends inside has not been outside between."""


class Equations:
    """One problem's equations and its exact solution. The defaults are those of a problem that never ends."""

    state_dim: int
    control_dim: int
    discount_rate: float
    """rho in 1/s."""
    control_bound: float
    """The control, per component, of an action of 1 in the environment; solvers with the closed form ignore it."""
    extent: float
    """Distance over which V changes, a radius of the domain: a step must be much smaller."""
    controls: Tensor | None = None
    """(k, control_dim) where a best control is always one of finitely many."""
    ends: bool = True
    """Whether there is a boundary or an end of time."""
    finite_horizon: bool = False
    """Whether the first component of the state is the time, and V is known when it is up."""
    noise_controlled: bool = False
    """Whether g depends on the control, and the best control on the curvature of V."""

    def drift(self, state: Tensor, control: Tensor) -> Tensor:
        """b, (n, state_dim) per second."""
        raise NotImplementedError

    def scale(self, state: Tensor, control: Tensor) -> Tensor:
        """Diagonal g, (n, state_dim) per square root of a second; none by default."""
        return torch.zeros_like(state)

    def reward_rate(self, state: Tensor, control: Tensor) -> Tensor:
        """r, (n,) per second."""
        raise NotImplementedError

    def best_control(self, state: Tensor, gradient: Tensor) -> Tensor:
        """The maximiser of the Hamiltonian for the value gradient V_x (n, state_dim), where noise is not controlled."""
        raise NotImplementedError

    def best_curved_control(self, state: Tensor, gradient: Tensor, curvature: Tensor) -> Tensor:
        """The maximiser for V_x and the diagonal of V_xx, (n, state_dim) each."""
        return self.best_control(state, gradient)

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """States V is sought at: the law errors are averaged over and rollouts start from."""
        raise NotImplementedError

    def value(self, state: Tensor) -> Tensor:
        """Exact V*, (n,)."""
        raise NotImplementedError

    def start(self, n: int, rng: torch.Generator) -> Tensor:
        """States episodes begin in, where these are not ``sample``'s."""
        return self.sample(n, rng)

    def margin(self, state: Tensor) -> Tensor:
        """Distance to the boundary (n,), positive inside the domain."""
        return state.new_full((len(state),), math.inf)

    def wrap(self, state: Tensor) -> Tensor:
        """The same state within the box V is sought in, where a coordinate is an angle."""
        return state

    def remaining_s(self, state: Tensor) -> Tensor:
        """Seconds until the time is up, (n,)."""
        return state.new_full((len(state),), math.inf)

    def payoff(self, state: Tensor) -> Tensor:
        """What the end pays, (n,)."""
        return state.new_zeros(len(state))

    def probe(self, n: int, rng: torch.Generator) -> Tensor:
        """States errors are measured at, where these are not ``sample``'s."""
        return self.sample(n, rng)

    def boundary(self, n: int, rng: torch.Generator) -> Tensor:
        """States on the boundary, for solvers that fit ``payoff`` there; none for a problem without."""
        return torch.zeros(0, self.state_dim)

    def anchor(self) -> Tensor | None:
        """A single state (1, state_dim) whose value is published, where there is one."""
        return None

    def smooth(self, state: Tensor) -> Tensor:
        """(n,) bool: further than ``KINK`` from where V* has a kink."""
        return torch.ones(len(state), dtype=torch.bool)

    def gradient(self, state: Tensor) -> Tensor:
        """Exact V*_x, (n, state_dim)."""
        return gradient_of(self.value, state)


def maximiser(equations: Equations, gradient: Callable[[Tensor], Tensor], state: Tensor) -> Tensor:
    """The Hamiltonian's maximiser (n, control_dim) for a value with this gradient, the curvature by differences."""
    if not equations.noise_controlled:
        return equations.best_control(state, gradient(state))
    shift, bends = 0.01 * equations.extent, []
    for i in range(equations.state_dim):
        aside = torch.zeros(equations.state_dim).to(state)
        aside[i] = shift
        bends.append((gradient(state + aside) - gradient(state - aside))[:, i] / (2 * shift))
    return equations.best_curved_control(state, gradient(state), torch.stack(bends, 1))


def noisy_directions(equations: Equations) -> list[int]:
    """Components of the state that have noise."""
    state = equations.sample(64, torch.Generator().manual_seed(0))
    scale = equations.scale(state, state.new_zeros(len(state), equations.control_dim))
    return scale.any(0).nonzero()[:, 0].tolist()


def gradient_of(function, state: Tensor) -> Tensor:
    """The gradient (n, d) of a function of rows, (n, d) -> (n,)."""
    with torch.enable_grad():
        state = state.detach().requires_grad_()
        return torch.autograd.grad(function(state).sum(), state)[0]


class Passage(NamedTuple):
    """What happened to n states in one step."""

    next_state: Tensor
    reward: Tensor
    """(n,), discounted to the step's beginning; the payoff included."""
    ended: Tensor
    """(n,), bool."""
    shock: Tensor
    """(n, state_dim): the part of the displacement the noise made, zero in the mean."""


def hold_step(equations: Equations, dt: float | Tensor, state: Tensor, control: Tensor, noise: Tensor) -> Passage:
    """One step of ``dt`` seconds with the control held, which does not miss the boundary.

    Heun's rule for drift and reward: of weak order 2 inside for a scale that does not depend on the state. The noise
    (n, state_dim + 1) is standard normal. A path that ends inside may have been outside between: under the bridge
    between its ends this has the probability exp(-2 m m' / (g^2 dt)) for margins m, m' (Gobet, 2000, Stochastic
    Processes and their Applications 87, for a flat boundary and isotropic noise), which the last component of the
    noise decides; its end is then reflected. A path that ends outside stops where its chord meets the boundary, after
    the bridge's mean time to it: m sqrt(dt) / g times Mills' ratio at (m + m') / (g sqrt(dt)), which is the chord's
    share of dt where there is no noise. (The integral of t p(t, m) p(dt - t, m') m / t, p the heat kernel, is an erfc.)
    """
    left = equations.remaining_s(state)
    h = torch.minimum(left, torch.as_tensor(dt, dtype=left.dtype))
    scale = equations.scale(state, control)
    kick = h.sqrt()[:, None] * scale * noise[:, :-1]
    drift = equations.drift(state, control)
    drift = (drift + equations.drift(state + h[:, None] * drift + kick, control)) / 2
    following = state + h[:, None] * drift + kick
    before, after = equations.margin(state).clamp(min=0), equations.margin(following)
    crossed, share = after <= 0, torch.ones_like(h)
    if equations.ends and not equations.finite_horizon:
        spread = scale.amax(-1) * h.sqrt()
        chance = torch.exp(-2 * before * after / spread.square().clamp(min=1e-12))
        touched = ~crossed & (spread > 0) & (torch.special.ndtr(noise[:, -1]) < chance)
        if touched.any():
            mirrored = following - 2 * after[:, None] * gradient_of(equations.margin, following)
            following = torch.where(touched[:, None], mirrored, following)
        crossed = crossed | touched
        across = (before + after.abs()).clamp(min=1e-12)
        chord = (before / across)[:, None]
        following = torch.where(crossed[:, None], state + chord * (following - state), following)
        mills = math.sqrt(math.pi / 2) * torch.special.erfcx(across / spread.clamp(min=1e-9) / math.sqrt(2))
        share = torch.where(crossed, torch.where(spread > 1e-6, before / spread * mills, before / across), share)
        fresh = crossed & (before > 0)  # the others have been on the boundary before
        if fresh.any():
            following = following.index_put((fresh,), _onto_boundary(equations, following[fresh]))
    ended = crossed | (left <= h * (1 + 1e-6))
    elapsed = share * h
    rho = equations.discount_rate
    weight = -torch.expm1(-rho * elapsed) / rho if rho else elapsed
    rate = (equations.reward_rate(state, control) + equations.reward_rate(following, control)) / 2
    paid = torch.where(ended, torch.exp(-rho * elapsed) * equations.payoff(following), 0.0)
    return Passage(following, weight * rate + paid, ended, following - state - elapsed[:, None] * drift)


def _onto_boundary(equations: Equations, state: Tensor) -> Tensor:
    """States near the boundary, moved onto it by Newton's method along the margin's gradient."""
    for _ in range(2):
        slope = gradient_of(equations.margin, state)
        state = state - (equations.margin(state) / slope.square().sum(-1).clamp(min=1e-12))[:, None] * slope
    return state
