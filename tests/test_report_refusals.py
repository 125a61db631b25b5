"""What the report refuses: one line that names the folder or file and what is wrong with it."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from hjbbench.errors import UserError
from hjbbench.report import write_report
from tests.synthetic import write_run


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "holds no runs"),
        ([{"status": "interrupted"}], "1 runs, none finished yet"),
        ([{}, {"agent": "y", "targets": [-1.0]}], "targets is [-1.0], but [-550.0, -280.0]"),
        ([{}, {"evaluation": {"n_evals": 25, "n_episodes": 9}}], "evaluation.n_episodes is 9, but 5 in"),
        ([{"evaluation": {"n_evals": "many"}}], "field 'evaluation.n_evals' is 'many', must be int"),
        ([{}, {"suite": "other"}], "suites other, synthetic"),
        ([{}, {"seed": 0}], "the same task, agent and seed"),
        ([{"n_evals_made": 20}], "20 of 25 evaluations"),
        (
            [{"reference": {"random": 1.0, "reference": 1.0, "provenance": "x"}}],
            "reference.reference equals reference.random",
        ),
        ([{"totals": {"n_steps": "many", "t_wall_s": 1.0}}], "field 'totals.n_steps' is 'many'"),
        ([{"agent": "\x1b[2J"}], "agent is '\\x1b[2J', must be printable"),
    ],
)
def test_runs_that_cannot_be_reported_are_refused_in_one_line(tmp_path: Path, runs: list[dict], message: str) -> None:
    for seed, fields in enumerate(runs):
        write_run(tmp_path, "a/b", "x", seed, **fields)
    assert message in refusal(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("n_steps", 3, "evaluated at other n_steps"),
        ("return_mean", math.nan, "return_mean must hold finite numbers"),
        ("t_wall_s", math.inf, "t_wall_s must hold finite numbers"),
        ("n_updates", 0, "n_updates falls; a cost can only grow"),
    ],
)
def test_evaluations_that_fit_no_run_are_refused_in_one_line(
    tmp_path: Path, column: str, value: float, message: str
) -> None:
    write_run(tmp_path, "a/b", "x", 0)
    path = write_run(tmp_path, "a/b", "x", 1) / "evals.csv"
    table = pd.read_csv(path)
    table.loc[2, column] = value
    table.to_csv(path, index=False)
    assert message in refusal(tmp_path)


def test_a_file_in_the_report_s_place_is_refused_in_one_line(tmp_path: Path) -> None:
    write_run(tmp_path, "a/b", "x", 0)
    (tmp_path / "report").write_text("in the way")
    assert "cannot be written" in refusal(tmp_path)


def refusal(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        write_report(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)
