"""The report's section on runs that know the exact solution."""

from __future__ import annotations

from pathlib import Path

from hjbbench.report import write_report
from hjbbench.report.exactness import exactness
from hjbbench.store import read_runs, write_rows
from tests.synthetic import write_run


def solve(
    root: Path, task: str, agent: str, seed: int, dim: int, errors: list[float], largest: float, **fields
) -> None:
    folder = write_run(root, task, agent, seed, **fields)
    rows = [
        {"n_steps": k, "state_dim": dim, "dt": 0.05, "solve_s": 10.0 * (k + 1), "solve_cpu_s": float(dim),
         "value_rel_l2": error, "value_max_rel": largest}
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
