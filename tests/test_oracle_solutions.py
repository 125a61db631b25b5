"""Every oracle problem: its exact value solves its HJB equation, and its equations pay what the value says."""

from __future__ import annotations

import pytest
import torch

from hjbbench.equations import Equations, gradient_of, hold_step
from hjbbench.errors import UserError
from hjbbench.registry import all_tasks
from tasks.oracle.ball import StaticLQ, VanDerPolRing
from tasks.oracle.deterministic import DoubleIntegrator
from tasks.oracle.eikonal import Eikonal
from tasks.oracle.linear_quadratic import chain_problem
from tasks.oracle.lqg import LogarithmicLQG

PROBLEMS = {
    name: task.equations
    for name, task in all_tasks().items()
    if task.equations is not None and task.equations.state_dim <= 11
}


def curvature(equations: Equations, state: torch.Tensor) -> torch.Tensor:
    """The diagonal of V*_xx by central differences of the gradient, (n, d)."""
    parts = []
    for i in range(equations.state_dim):
        shift = torch.zeros(equations.state_dim, dtype=torch.float64)
        shift[i] = 1e-4
        parts.append((equations.gradient(state + shift) - equations.gradient(state - shift))[:, i] / 2e-4)
    return torch.stack(parts, 1)


@pytest.mark.parametrize("name", PROBLEMS)
def test_value_solves_the_hjb_equation_and_the_control_maximises(name: str) -> None:
    equations, rng = PROBLEMS[name], torch.Generator().manual_seed(0)
    state = equations.sample(60, rng).double()
    state = state[equations.smooth(state) & (equations.margin(state) > 0.02) & (equations.remaining_s(state) > 0.02)]
    slope, bend = equations.gradient(state), curvature(equations, state)

    def hamiltonian(control: torch.Tensor) -> torch.Tensor:
        drift = (equations.drift(state, control) * slope).sum(-1)
        noise = (equations.scale(state, control).square() * bend).sum(-1) / 2
        return equations.reward_rate(state, control) + drift + noise

    best = equations.best_curved_control(state, slope, bend)
    residual = hamiltonian(best) - equations.discount_rate * equations.value(state)
    assert residual.abs().max() < 1e-4 * max(1.0, equations.value(state).abs().max().item())
    for _ in range(3):
        other = equations.control_bound * (2 * torch.rand(best.shape, generator=rng, dtype=torch.float64) - 1)
        assert (hamiltonian(other) <= hamiltonian(best) + 1e-9).all()


@pytest.mark.parametrize("name", [name for name, e in PROBLEMS.items() if len(e.boundary(1, torch.Generator()))])
def test_value_is_the_payoff_on_the_boundary(name: str) -> None:
    equations = PROBLEMS[name]
    edge = equations.boundary(50, torch.Generator().manual_seed(0)).double()
    assert equations.margin(edge).abs().max() < 1e-5
    torch.testing.assert_close(equations.value(edge), equations.payoff(edge), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("dim", "published"), [(10, 2.157022), (50, 3.882007), (100, 4.590162), (200, 5.290815), (500, 6.211608)]
)
def test_lqg_agrees_with_its_reference_values(dim: int, published: float) -> None:
    equations = LogarithmicLQG(dim)
    assert -equations.value(equations.anchor()).item() == pytest.approx(published, abs=1.5e-6)


def test_lqg_away_from_its_start() -> None:
    state = torch.zeros(2, 101)
    state[0, 1], state[1, 0] = 10.0, 0.5
    assert (-LogarithmicLQG(100).value(state)).tolist() == pytest.approx([4.996107, 3.902181], abs=1e-6)


@pytest.mark.parametrize(
    "make", [lambda: Eikonal(0), lambda: LogarithmicLQG(1), lambda: VanDerPolRing(5), lambda: chain_problem(-1)]
)
def test_a_dimension_without_a_closed_form_is_refused(make) -> None:
    with pytest.raises(UserError, match="dim is"):
        make()


def test_a_step_ends_where_the_boundary_is() -> None:
    equations = Eikonal(1)
    state, control = torch.tensor([[0.97], [0.5]]), torch.ones(2, 1)
    passed = hold_step(equations, 0.05, state, control, torch.zeros(2, 2))
    assert passed.ended.tolist() == [True, False]
    assert passed.next_state[:, 0].tolist() == pytest.approx([1.0, 0.55])
    assert passed.reward[0].item() == pytest.approx(-0.03, rel=0.01)


def test_no_crossing_between_two_steps_is_missed() -> None:
    """From 0.5 inside the ball of one dimension, without control: the mean exit time is (1 - 0.5^2) / 2."""
    equations, rng = StaticLQ(1), torch.Generator().manual_seed(0)
    state = torch.full((20000, 1), 0.5)
    alive, time_s, dt = torch.ones(20000, dtype=torch.bool), 0.0, 0.02
    shocks = torch.zeros(20000)
    while alive.any():
        noise = torch.randn(20000, 2, generator=rng)
        following, _, ended, shock = hold_step(equations, dt, state, torch.zeros(20000, 1), noise)
        share = torch.where(ended & (state[:, 0] != following[:, 0]), 0.5, 1.0)
        time_s += dt * (alive * share).mean().item()
        shocks += alive * shock[:, 0]
        state, alive = torch.where(alive[:, None], following, state), alive & ~ended
    assert time_s == pytest.approx(0.375, rel=0.02)
    assert shocks.mean().item() == pytest.approx(0.0, abs=0.02)


def test_least_time_falls_by_a_second_per_second() -> None:
    equations = DoubleIntegrator()
    state = torch.tensor([[0.8, 0.3], [-0.5, 0.9], [0.2, -0.9]], dtype=torch.float64)
    before = equations.margin(state)
    control = equations.best_control(state, gradient_of(equations.value, state))
    after = equations.margin(hold_step(equations, 0.05, state, control, torch.zeros(3, 3).double()).next_state)
    torch.testing.assert_close(before - after, torch.full((3,), 0.05, dtype=torch.float64), atol=1e-9, rtol=0)
