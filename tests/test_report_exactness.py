"""The report's section on runs that know the exact solution."""

from __future__ import annotations

from pathlib import Path

import pytest

from hjbbench.report import write_report
from hjbbench.report.exactness import exactness
from hjbbench.report.rates import rates
from hjbbench.store import read_runs, write_rows
from tests.synthetic import write_run


def solve(
    root: Path, task: str, agent: str, seed: int, dim: int, errors: list[float], largest: float,
    also: dict[str, float] | None = None, **fields,
) -> None:  # fmt: skip
    folder = write_run(root, task, agent, seed, **fields)
    rows = [
        {"n_steps": k, "state_dim": dim, "dt": 0.05, "solve_s": 10.0 * (k + 1), "solve_cpu_s": float(dim),
         "value_rel_l2": error, "value_max_rel": largest, **(also or {})}
        for k, error in enumerate(errors)
    ]  # fmt: skip
    write_rows(folder / "diagnostics.csv", list(rows[0]), rows)


def test_rows_hold_medians_failures_and_the_time_from_which_on_it_is_good(tmp_path: Path) -> None:
    for seed, largest in enumerate((0.01, 0.015, 0.5)):
        solve(tmp_path, "oracle/p-d2", "flow", seed, 2, [0.1, 0.001, 0.01, 0.001], largest)
    solve(tmp_path, "oracle/p-d2", "flow", 3, 2, [0.1], 0.3, status="diverged", n_evals_made=2)
    (row,) = exactness(read_runs(tmp_path))
    assert (row.n_found, row.n_runs, row.worst) == (2, 4, 0.5)
    assert row.good_s == 40.0  # at 20 s it was good, but not for good
    assert row.measures["value_max_rel"] == 0.015
    assert row.measures["regret_rel"] is None
    assert row.family == "oracle/p"


def test_a_learner_without_an_exact_solution_has_no_row(tmp_path: Path) -> None:
    write_run(tmp_path, "made/up", "learner", 0)
    assert exactness(read_runs(tmp_path)) == []


def test_the_page_shows_the_section_and_the_figures(tmp_path: Path) -> None:
    for dim in (2, 10):
        solve(tmp_path, f"oracle/p-d{dim}", "flow", 0, dim, [0.1, 0.0123], 0.01)
    _, page = write_report(tmp_path)
    text = page.read_text()
    assert "Against the exact solution" in text
    assert "1.23 %" in text
    for name in ("error-against-dimension", "seconds-against-dimension"):
        assert (page.parent / "figures" / f"{name}.svg").stat().st_size > 1000


def test_no_figure_of_dimensions_with_a_single_one(tmp_path: Path) -> None:
    solve(tmp_path, "oracle/p-d2", "flow", 0, 2, [0.1], 0.01)
    _, page = write_report(tmp_path)
    assert not (page.parent / "figures" / "error-against-dimension.svg").exists()


def test_variants_of_a_solver_make_an_order_of_convergence(tmp_path: Path) -> None:
    for name, dt, error in (("flow", 0.05, 0.01), ("flow-2x", 0.1, 0.03), ("flow-4x", 0.2, 0.09)):
        solve(tmp_path, "oracle/p-d2", name, 0, 2, [1.0, error], 0.1, {"dt": dt}, variant_of="flow")
    (rate,) = rates(exactness(read_runs(tmp_path)))
    assert (rate.agent, rate.against, rate.of) == ("flow", "dt", "error")
    assert rate.points == ((0.05, 0.01), (0.1, 0.03), (0.2, 0.09))
    assert rate.slope == pytest.approx(1.585, abs=1e-3)  # three times the error at twice the step: log2(3)
    _, page = write_report(tmp_path)
    assert "1.58" in page.read_text()
    assert (page.parent / "figures" / "error-against-dt.svg").exists()


def test_grids_are_compared_by_their_spacing_and_two_points_make_no_rate(tmp_path: Path) -> None:
    for nodes, error in ((11, 0.08), (21, 0.04), (41, 0.02)):
        spacing = {"spacing": 2 / (nodes - 1)}
        solve(tmp_path, "oracle/p-d2", f"grid-{nodes}", 0, 2, [error], 0.1, spacing, variant_of="grid")
        if nodes < 41:
            solve(tmp_path, "oracle/q-d2", f"grid-{nodes}", 0, 2, [error], 0.1, spacing, variant_of="grid")
    (rate,) = rates(exactness(read_runs(tmp_path)))
    assert (rate.problem, rate.agent, rate.against) == ("oracle/p-d2", "grid", "spacing")
    assert rate.slope == pytest.approx(1.0, abs=1e-6)


def test_cost_grows_with_the_dimension_at_a_power(tmp_path: Path) -> None:
    for dim in (10, 20, 40):  # the made-up runs take as many seconds as dimensions
        solve(tmp_path, f"oracle/p-d{dim}", "flow", 0, dim, [0.01], 0.1)
    (rate,) = rates(exactness(read_runs(tmp_path)))
    assert (rate.problem, rate.against, rate.of) == ("oracle/p", "dimension", "seconds")
    assert rate.slope == pytest.approx(1.0)


def test_the_value_along_the_line_is_drawn_where_it_was_recorded(tmp_path: Path) -> None:
    along = {"value_at_-0.5": -0.4, "value_at_0.5": -0.6, "exact_at_-0.5": -0.5, "exact_at_0.5": -0.5}
    solve(tmp_path, "oracle/line", "flow", 0, 1, [0.01], 0.1, along)
    solve(tmp_path, "oracle/p-d2", "flow", 0, 2, [0.01], 0.1)
    _, page = write_report(tmp_path)
    drawn = [path.name for path in (page.parent / "figures").glob("value-along-the-line-*.svg")]
    assert drawn == ["value-along-the-line-oracle-line.svg"]
