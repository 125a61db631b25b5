"""How far a solution is from the exact one: of the value, of its gradient, and of what its greedy policy earns."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hjbbench.equations import Equations, hold_step
from hjbbench.greedy import Exact, Greedy, Value

N_STATES = 2000
N_PATHS = 512
N_PROFILE = 81


class Yardstick:
    """Relative errors at the problem's probe states, the same for every solver and seed."""

    def __init__(self, equations: Equations) -> None:
        self._equations = equations
        self._state = equations.probe(N_STATES, torch.Generator().manual_seed(0))
        self._exact = equations.value(self._state).double()
        self._smooth = equations.smooth(self._state)
        self._slope = equations.gradient(self._state).double()[self._smooth]

    def errors(self, solution: Value) -> dict[str, float]:
        """value_rel_l2 over all states; where V* is smooth (0.05 from its kinks) value_max_rel, the largest error over
        the largest |V*|, and gradient_rel_l2; anchor_rel at the one published state, where there is one.
        """
        found = {}
        with torch.no_grad():
            value = solution.value(self._state).double()
            if (anchor := self._equations.anchor()) is not None:
                there = self._equations.value(anchor).item()
                found["anchor_rel"] = abs(solution.value(anchor).item() / there - 1)
        if value.isfinite().all():
            error, slope = value - self._exact, solution.gradient(self._state).double()[self._smooth]
            found["value_rel_l2"] = (error.norm() / self._exact.norm()).item()
            found["value_max_rel"] = (error[self._smooth].abs().max() / self._exact.abs().max()).item()
            found["gradient_rel_l2"] = ((slope - self._slope).norm() / self._slope.norm()).item()
        return found


def profile(equations: Equations, solution: Value) -> dict[str, float]:
    """V and V* along the line of a one-dimensional problem, as ``value_at_<x>`` and ``exact_at_<x>``, else nothing."""
    if equations.state_dim > 1:
        return {}
    reach = equations.sample(N_STATES, torch.Generator().manual_seed(0)).abs().max()
    state = torch.linspace(-reach, reach, N_PROFILE)[:, None]
    state = state[equations.margin(state) >= 0]
    with torch.no_grad():
        values, exact = solution.value(state), equations.value(state)
    names = [f"{x:.4g}" for x in state[:, 0].tolist()]
    return {
        f"{kind}_at_{name}": value
        for kind, column in (("value", values), ("exact", exact))
        for name, value in zip(names, column.tolist(), strict=True)
    }


def regret(equations: Equations, solution: Value, dt: float, horizon_s: float) -> float:
    """What the greedy policy earns less than the exact optimal one over |V*|, on the same starts and noise.

    Both hold their control for ``dt``. What is left after ``horizon_s`` counts with V*.
    """
    start = equations.start(N_PATHS, torch.Generator().manual_seed(1))
    exact = Exact(equations)
    best, greedy = (_earned(equations, Greedy(equations, dt, v), start, dt, horizon_s) for v in (exact, solution))
    return ((best - greedy).mean() / equations.value(start).abs().mean()).item()


def _earned(equations: Equations, policy: Greedy, start: Tensor, dt: float, horizon_s: float) -> Tensor:
    rng = torch.Generator().manual_seed(2)
    state, alive = start, torch.ones(len(start), dtype=torch.bool)
    total = torch.zeros(len(start), dtype=torch.double)
    n_steps = math.ceil(horizon_s / dt - 1e-9)
    for k in range(n_steps):
        noise = torch.randn(len(start), equations.state_dim + 1, generator=rng)
        with torch.no_grad():
            following, reward, ended, _ = hold_step(equations, dt, state, policy.control(state), noise)
        total += math.exp(-equations.discount_rate * k * dt) * alive * reward
        state, alive = torch.where(alive[:, None], following, state), alive & ~ended
        if not alive.any():
            return total
    return total + math.exp(-equations.discount_rate * n_steps * dt) * alive * equations.value(state)
