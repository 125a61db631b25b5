"""How far a folder is: a shipped suite counts in full, whatever of it has been asked for."""

from __future__ import annotations

import pytest

from hjbbench.campaign import PLAN, status
from hjbbench.planning import load_suite, plan
from hjbbench.store import write_json
from tests.synthetic import write_run

TASK, OPTIONAL = "control/pendulum", "locomotion/swimmer"


@pytest.fixture
def folder(tmp_path):
    """Two runs of the suite "standard", one of a seed beyond it, and the plan of whoever ran them alone."""
    for seed in (0, 1, 99):
        write_run(tmp_path, TASK, "sac", seed, suite="standard")
    write_json(tmp_path / PLAN, [{"task": "gone/task", "agent": "sac", "seed": 0, "n_steps": 10}])
    return tmp_path


def test_a_shipped_suite_counts_in_full(folder):
    whole, _ = plan(load_suite("standard"))
    found = status(folder)
    assert found.counts == {"done": 3, "missing": len(whole) - 2}
    assert f"{TASK} sac seed 2" in found.missing
    assert not [label for label in found.missing if label.startswith(("gone/", OPTIONAL))]
    pace = 10_000 / 100 / 10_000 + 1 / 10_000  # made-up seconds per decision: learning, and a second of evaluation
    left = {spec.label: spec.n_steps for spec in whole if spec.label in found.missing}
    assert found.left_h == pytest.approx(sum(left.values()) * pace / 3600)


def test_an_optional_task_counts_once_it_has_been_begun(folder):
    before = status(folder)
    write_run(folder, OPTIONAL, "sac", 0, suite="standard")
    suite = load_suite("standard")
    begun, _ = plan(suite, tasks=OPTIONAL)
    found = status(folder)
    assert found.counts == {"done": 4, "missing": before.counts["missing"] + len(begun) - 1}
    assert not [label for label in found.missing if label.startswith(suite.optional_tasks[1])]


def test_a_suite_file_of_one_s_own_counts_as_planned(tmp_path):
    write_run(tmp_path, TASK, "sac", 0, suite="mine")
    write_json(tmp_path / PLAN, [{"task": TASK, "agent": "sac", "seed": seed, "n_steps": 10} for seed in range(3)])
    assert status(tmp_path).missing == [f"{TASK} sac seed 1", f"{TASK} sac seed 2"]
