"""The solvers against exact solutions, on budgets of seconds."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import linalg

from hjbbench.equations import maximiser
from hjbbench.errors import UserError
from hjbbench.greedy import Exact, Greedy
from hjbbench.hjb.flow import HamiltonianFlow
from hjbbench.planning import load_suite, plan
from hjbbench.registry import get_agent, get_task
from hjbbench.runner import execute
from hjbbench.solvers.errors import N_PATHS, Yardstick, regret
from hjbbench.solvers.grid import Grid, GridConfig, memory_mb
from hjbbench.solvers.known import KnownDynamics
from hjbbench.solvers.quadratic_flow import QuadraticFlow, QuadraticFlowConfig
from hjbbench.solvers.solver import check_step
from hjbbench.solvers.value_flow import ValueFlow, ValueFlowConfig
from hjbbench.spec import RunSpec
from hjbbench.store import read_run
from tasks.oracle.eikonal import Eikonal
from tasks.oracle.linear_quadratic import oscillator_problem

torch.set_num_threads(1)


def settled(task_name: str, nodes: int) -> Grid:
    grid = Grid(get_task(task_name), None, GridConfig(nodes=nodes), 0)
    for _ in range(30):
        if not grid.improve(0.0):
            return grid
    raise AssertionError("the grid does not settle")


def error(grid: Grid, measure: str = "value_max_rel") -> float:
    return Yardstick(grid.equations).errors(grid.solution)[measure]


@pytest.mark.parametrize(
    ("task", "coarse", "fine"),
    [
        ("oracle/zubov", 7, 21),
        ("oracle/zubov", 21, 61),
        ("oracle/lqr-d2", 13, 41),
        ("oracle/lqr-d2", 21, 61),
        ("oracle/diffusive-eikonal-d2", 21, 41),
        ("oracle/lqr-d3", 7, 13),
        ("oracle/lqr-d3", 9, 17),
    ],
)
def test_grid_error_shrinks_at_first_order(task: str, coarse: int, fine: int) -> None:
    ratio = error(settled(task, coarse), "value_rel_l2") / error(settled(task, fine), "value_rel_l2")
    assert math.log(ratio) / math.log((fine - 1) / (coarse - 1)) > 0.8


def test_grid_finds_the_viscosity_solution_of_the_eikonal_equation() -> None:
    assert error(settled("oracle/eikonal-d1", 51)) < 1e-3


@pytest.mark.parametrize("task", ["oracle/control-noise-d2", "oracle/lqr-d3"])
def test_policies_of_a_grid_without_a_node_at_the_origin_settle_too(task: str) -> None:
    assert error(settled(task, 10), "gradient_rel_l2") < 0.4


def test_grid_in_four_dimensions_fits_its_memory() -> None:
    grid = settled("oracle/lqr-d4", 7)
    assert memory_mb(grid.equations, 7) < 10
    assert error(grid, "gradient_rel_l2") < 0.3  # so coarse a grid has the slope of V, and V up to a constant


def test_a_grid_beyond_memory_is_refused_with_its_size() -> None:
    task = get_task("oracle/oscillator-noisy")
    needed = memory_mb(task.equations, 101)
    assert needed > 50_000
    with pytest.raises(UserError, match=rf"101\^4 nodes .* need {needed:.0f} MB, allowed are 2000"):
        Grid(task, None, GridConfig(nodes=101), 0)


@pytest.mark.parametrize(
    ("agent", "setting", "message"),
    [("grid", {"nodes": 5000}, r"5000\^2 nodes .* need"), ("value-flow", {"dt_factor": 40.0}, "dt is 2 s, too coarse")],
)
def test_settings_that_cannot_be_solved_are_refused_before_anything_runs(agent, setting, message) -> None:
    with pytest.raises(UserError, match=message):
        plan(load_suite("oracle"), tasks="oracle/eikonal-d2", agents=agent, overrides={agent: setting})


@pytest.mark.parametrize(
    ("task", "dt"),
    [
        ("oracle/eikonal-d1", 1.5), ("oracle/lqg-d10", 2.0), ("oracle/lqr-d2", 1.0),
        ("oracle/eikonal-d1", 0.0), ("oracle/lqg-d10", -0.05), ("oracle/lqr-d2", math.nan),
    ],
)  # fmt: skip
def test_a_step_that_is_none_or_too_coarse_for_the_domain_is_refused(task: str, dt: float) -> None:
    with pytest.raises(UserError, match="dt is"):
        check_step(get_task(task).equations, dt, task)


def test_the_value_flow_runs_the_agents_own_flow() -> None:
    flow = ValueFlow(get_task("oracle/eikonal-d1"), None, ValueFlowConfig(), 0).flow
    assert isinstance(flow, HamiltonianFlow)
    for method in ("roll_out", "targets"):
        assert getattr(type(flow), method) is getattr(HamiltonianFlow, method)


def test_value_flow_nears_the_viscosity_solution() -> None:
    solver = ValueFlow(get_task("oracle/eikonal-d1"), None, ValueFlowConfig(), 0)
    for k in range(12):
        solver.improve(k / 12)
    assert Yardstick(solver.equations).errors(solver.solution)["value_max_rel"] < 0.15


@pytest.mark.parametrize("task", ["oracle/lqr-d2", "oracle/oscillator"])
def test_the_flow_converges_at_first_order_in_dt(task: str) -> None:
    errors = []
    for factor in (1.0, 2.0):
        times = {"rollout_steps": round(40 / factor), "flow_step": 20 / factor}
        solver = QuadraticFlow(get_task(task), None, QuadraticFlowConfig(dt_factor=factor, **times), 0)
        for _ in range(100):
            solver.improve(0.0)
        errors.append(Yardstick(solver.equations).errors(solver.solution)["value_rel_l2"])
    assert errors[0] < 0.05
    assert math.log2(errors[1] / errors[0]) > 0.9


def test_value_flow_in_high_dimension() -> None:
    solver = ValueFlow(get_task("oracle/lqg-d50"), None, ValueFlowConfig(), 0)
    for k in range(8):
        solver.improve(k / 8)
    assert Yardstick(solver.equations).errors(solver.solution)["value_rel_l2"] < 0.02


def test_where_noise_is_controlled_the_best_control_knows_the_curvature() -> None:
    equations = get_task("oracle/control-noise-d2").equations
    state = equations.sample(100, torch.Generator().manual_seed(0)).double()
    k = equations.k
    expected = -2 * k * state / (1 + k * state.square() / 2)  # with e = 1/2
    torch.testing.assert_close(maximiser(equations, equations.gradient, state), expected, atol=1e-6, rtol=0)


def test_with_the_exact_gradient_a_path_has_no_noise_left() -> None:
    """The martingale term takes out nearly all the variance of a path's return, and none of its mean."""
    equations = get_task("oracle/lqg-d10").equations
    policy = Greedy(equations, 0.05, Exact(equations))
    state = equations.start(1, torch.Generator().manual_seed(0)).expand(2000, -1)
    noise = torch.randn(2000, 12, generator=torch.Generator().manual_seed(1))
    control = policy.control(state)
    plain, reduced = (KnownDynamics(equations, 0.05, p).step(state, control, noise) for p in (None, policy))
    returns = [step.reward + equations.value(step.next_state) for step in (plain, reduced)]
    assert returns[1].std() < 0.3 * returns[0].std()
    assert returns[1].mean().item() == pytest.approx(equations.value(state[:1]).item(), abs=2e-3)


def test_the_exact_solution_has_no_error_and_no_regret() -> None:
    task = get_task("oracle/eikonal-d2")
    exact = Exact(task.equations)
    found = Yardstick(task.equations).errors(exact)
    assert max(found.values()) < 1e-6
    assert regret(task.equations, exact, task.dt, task.horizon_s) == 0


class Half(Exact):
    """Half of the exact gradient, and so half of the optimal feedback where that is linear."""

    def gradient(self, state: torch.Tensor) -> torch.Tensor:
        return super().gradient(state) / 2


def test_the_regret_of_half_the_optimal_feedback_is_what_the_held_plant_loses_by_it() -> None:
    """A control held is u = -c K x, of which the plant's value is a discrete Lyapunov equation's solution."""
    task, problem = get_task("oracle/oscillator"), oscillator_problem(noise=0.0)
    plant, discount = problem.sample(task.dt), math.exp(-problem.discount_rate * task.dt)
    start = task.equations.start(N_PATHS, torch.Generator().manual_seed(1)).double().numpy()

    def cost(c: float) -> np.ndarray:
        both = np.concatenate([np.eye(4), -c * problem.gain])
        form = linalg.solve_discrete_lyapunov(
            math.sqrt(discount) * (plant.transition @ both).T, both.T @ plant.cost @ both
        )
        return np.einsum("ki,ij,kj->k", start, form, start)

    lost = (cost(0.5) - cost(1.0)).mean() / -problem.optimal_value(start).mean()
    assert lost > 0.1
    assert regret(task.equations, Half(task.equations), task.dt, task.horizon_s) == pytest.approx(lost, rel=0.01)


def test_the_residual_vanishes_at_the_exact_solution_and_at_a_wrong_one() -> None:
    """|V'| = 1 + rho V holds almost everywhere for a sawtooth too: a small residual proves nothing."""
    pinn = get_agent("pinn").factory(get_task("oracle/eikonal-d1"), None, get_agent("pinn").config, 0)
    equations = Eikonal(1)
    state = 0.9 * torch.rand(50, 1, generator=torch.Generator().manual_seed(0)) + 0.05

    def sawtooth(x):
        distance = ((x[:, 0] % 0.5) - 0.25).abs()  # to the nearest of many false ends
        return torch.expm1(-equations.discount_rate * (0.25 - distance)) / equations.discount_rate

    for function in (equations.value, sawtooth):
        pinn.field = function
        assert pinn.residual(state.clone()).abs().median() < 1e-5
    assert (sawtooth(state) - equations.value(state)).abs().max() > 0.3


def test_deep_bsde_moves_towards_the_published_value() -> None:
    entry = get_agent("deep-bsde")
    config = dataclasses.replace(entry.config, lr=5e-2, dt_factor=4.0)
    solver = entry.factory(get_task("oracle/lqg-d10"), None, config, 0)
    for k in range(10):
        solver.improve(k / 10)
    assert solver.net.start_value.item() == pytest.approx(-2.157, abs=0.15)


def test_deep_bsde_ends_when_the_time_is_up_whatever_its_step() -> None:
    entry, task = get_agent("deep-bsde"), get_task("oracle/lqg-d10")
    steps = {}
    for factor in (1.0, 3.0, 7.0):
        solver = entry.factory(task, None, dataclasses.replace(entry.config, dt_factor=factor), 0)
        assert solver.n_steps * solver.dt == pytest.approx(1.0)
        steps[solver.n_steps] = solver.resolution()["dt"]
    assert steps == pytest.approx({20: 0.05, 7: 1 / 7, 3: 1 / 3})


def test_a_run_of_a_solver_is_stored_like_any_other(tmp_path) -> None:
    spec = RunSpec("oracle", "oracle/eikonal-d1", "grid", 0, 20, 2, 2, 60.0)
    assert execute(spec, tmp_path / "run") == "done"
    run = read_run(tmp_path / "run")
    last = run.diagnostics.iloc[-1]
    assert last["value_max_rel"] < 0.02
    assert abs(last["regret_rel"]) < 0.02
    assert last["solve_s"] > 0
    assert run.evals["value_error_rel_l2"].iloc[-1] < 0.02
    assert np.isfinite(run.diagnostics["memory_mb"].iloc[-1])
    assert last["spacing"] == pytest.approx(0.01)
    places = [name.removeprefix("exact_at_") for name in last.index if name.startswith("exact_at_")]
    assert len(places) == 81
    assert last[f"value_at_{places[20]}"] == pytest.approx(last[f"exact_at_{places[20]}"], abs=2e-3)
