"""One final score for the page, the claims and the comparison, of runs whose answer is worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hjbbench.compare import compare
from hjbbench.errors import UserError
from hjbbench.evidence import roughness, why_unequal
from hjbbench.report.cells import collect
from hjbbench.scores import evaluation_steps, final_scores, mean_returns
from hjbbench.store import Run, read_run, read_runs, write_rows
from tests.synthetic import RANDOM_RETURN, REFERENCE_RETURN, write_run


def rewrite(folder: Path, scores: list[float]) -> None:
    """Give the run's evaluations returns of these scores, below 0 too."""
    run = read_run(folder)
    assert run is not None
    rows = run.evals.to_dict("records")
    returns = [RANDOM_RETURN + score * (REFERENCE_RETURN - RANDOM_RETURN) for score in scores]
    changed = [row | {"return_mean": value} for row, value in zip(rows, returns, strict=True)]
    write_rows(folder / "evals.csv", list(rows[0]), changed)


def suite(root: Path) -> list[Run]:
    """A run whose last two of ten evaluations lie on either side of random, one that failed before its last one."""
    rewrite(write_run(root, "a/b", "x", 0, n_evals=10), [0.5] * 8 + [-0.6, 0.8])
    failed = {"status": "diverged", "error": "nan", "n_evals_made": 9}
    rewrite(write_run(root, "a/b", "x", 1, n_evals=10, **failed), [0.5] * 9)
    return read_runs(root)


EXPECTED = [0.4, 0.25]
"""(0 + 0.8) / 2, each evaluation clipped at 0; (0.5 + 0) / 2, the failed run's last one not made."""


def test_every_evaluation_is_clipped_and_a_failed_run_keeps_what_it_did(tmp_path: Path) -> None:
    runs = suite(tmp_path)
    steps = evaluation_steps(runs)
    assert final_scores(runs, steps) == pytest.approx(EXPECTED)
    assert mean_returns(runs, steps)[0, 8] == pytest.approx(RANDOM_RETURN - 0.6 * 900)
    assert mean_returns(runs, steps)[1, 9] == RANDOM_RETURN


def test_page_claims_and_comparison_have_the_same_final_score(tmp_path: Path) -> None:
    runs = suite(tmp_path / "r")
    (task,) = collect(runs)
    assert task.agents["x"].final_scores == pytest.approx(EXPECTED)
    (shortfall,) = (c for c in compare(runs, runs) if c.measure.startswith("shortfall"))
    assert shortfall.old == pytest.approx(1 - np.mean(EXPECTED))
    write_run(tmp_path / "r", "a/b", "y", 0, n_evals=10, level=1.0, spread=0.0, speed=50.0)
    both = read_runs(tmp_path / "r")
    reason = roughness(runs, [run for run in both if run.record["agent"] == "y"], "action_rate_rms_per_s").reason
    assert reason == f"the agent's mean score is {1 - np.mean(EXPECTED):.3f} lower: not an equal return"


def test_where_all_runs_failed_the_evaluations_nobody_made_count_too(tmp_path: Path) -> None:
    """Of 25 planned the last five score; all but the first of the 21 made are gone from these."""
    folder = write_run(tmp_path, "a/b", "x", 0, status="diverged", error="nan", n_evals_made=21)
    rewrite(folder, [1.0] * 21)
    runs = read_runs(tmp_path)
    assert len(evaluation_steps(runs)) == 25
    assert final_scores(runs, evaluation_steps(runs)) == pytest.approx([0.2])


def test_a_run_that_does_not_say_what_was_planned_ends_at_its_budget(tmp_path: Path) -> None:
    write_run(tmp_path, "a/b", "x", 0, status="error", error="boom", n_evals_made=0, evaluation={})
    assert evaluation_steps(read_runs(tmp_path)).tolist() == [10_000]


def test_a_return_that_is_no_number_names_its_file(tmp_path: Path) -> None:
    rewrite(write_run(tmp_path, "a/b", "x", 0, n_evals=10), [np.nan] * 10)
    with pytest.raises(UserError, match=r"seed-00/evals\.csv: column return_mean must hold finite numbers"):
        final_scores(read_runs(tmp_path), np.arange(10))


@pytest.mark.parametrize(
    ("scores", "others", "why"),
    [
        ([0.5, 0.6], [0.5, 0.52], ""),
        ([0.5, 0.5], [0.554, 0.554], "mean score is 0.054 lower: not an equal return"),
        ([0.7], [0.5, 0.6], "mean score is 0.150 higher: not an equal return"),
        ([0.0], [0.04], "mean score and the other's are at most 0.05: nothing learned"),
        (
            [0.9, 0.9, 0.9, 0.9],
            [0.1, 0.9, 0.9, 0.9],
            "mean score is 0.200 higher: not an equal return",
        ),  # whose IQMs are the same
    ],
)
def test_equal_returns(scores: list[float], others: list[float], why: str) -> None:
    assert why_unequal(np.array(scores), np.array(others)) == why
