"""Comparing results: alarms for what got worse, silence for chance, refusal of the unlike."""

from __future__ import annotations

import numpy as np
import pytest

from hjbbench.compare import compare, exit_code
from hjbbench.errors import UserError
from hjbbench.store import Run, read_runs
from tests.synthetic import write_run


def results(root, n_seeds=8, first_seed=0, agents=("a",), level=1.0, **fields):
    for agent in agents:
        for seed in range(first_seed, first_seed + n_seeds):
            write_run(root, "made/up", agent, seed, level=level, **fields)
    return read_runs(root)


def test_slower_and_worse_is_a_regression(tmp_path):
    old = results(tmp_path / "old", speed=10.0)
    slower = compare(old, results(tmp_path / "slower", speed=4.0, first_seed=20))
    verdicts = {change.measure: change.verdict for change in slower}
    assert verdicts["steps to the hardest target"] == "regression"
    assert exit_code(slower) == 1
    worse = compare(old, results(tmp_path / "worse", speed=10.0, level=0.6, first_seed=20))
    assert {change.measure: change.verdict for change in worse}["shortfall from the reference score"] == "regression"
    rougher = compare(old, results(tmp_path / "rougher", speed=10.0, action_rate=30.0, first_seed=20))
    assert [change.measure for change in rougher if change.verdict == "regression"] == ["action_rate_rms_per_s"]


def test_much_faster_is_suspicious_and_not_a_failure(tmp_path):
    changes = compare(results(tmp_path / "old", speed=4.0), results(tmp_path / "new", speed=15.0, first_seed=20))
    assert {change.measure: change.verdict for change in changes}["steps to the hardest target"] == "suspicious"
    assert exit_code(changes) == 0


@pytest.mark.parametrize("n_seeds", [(3, 3), (3, 8), (8, 2)])
def test_too_few_runs_to_call_much_faster_suspicious_are_compared_all_the_same(tmp_path, n_seeds):
    old = results(tmp_path / "old", n_seeds=n_seeds[0], speed=4.0)
    changes = compare(old, results(tmp_path / "new", n_seeds=n_seeds[1], speed=15.0, first_seed=20))
    assert {change.measure: change.verdict for change in changes}["steps to the hardest target"] == "unchanged"
    assert exit_code(changes) == 0


def test_too_few_runs_are_undecided(tmp_path):
    changes = compare(
        results(tmp_path / "old", n_seeds=3, speed=15.0), results(tmp_path / "new", n_seeds=3, first_seed=9, speed=3.0)
    )
    assert exit_code(changes) == 3


def test_a_collapse_that_so_many_cells_hide_is_undecided(tmp_path):
    """Five runs that are all worse have p = 1/252, and seventeen cells of three measures make of that 0.2."""
    agents = tuple("abcdefghijklmnopq")
    old = results(tmp_path / "old", n_seeds=5, agents=agents)
    new = results(tmp_path / "new", n_seeds=5, first_seed=9, agents=agents[1:])
    new += results(tmp_path / "bad", n_seeds=5, first_seed=9, agents=agents[:1], level=0.1)
    changes = compare(old, new)
    assert ("a", "undecided") in {(change.agent, change.verdict) for change in changes}
    assert exit_code(changes) == 3
    alone = compare([run for run in old if run.record["agent"] == "a"], read_runs(tmp_path / "bad"))
    assert exit_code(alone) == 1


def test_failed_runs_make_it_worse(tmp_path):
    old = results(tmp_path / "old")
    new = results(tmp_path / "new", first_seed=20, status="diverged", n_evals_made=3)
    verdicts = {change.measure: change.verdict for change in compare(old, new)}
    assert verdicts["shortfall from the reference score"] == "regression"


UNLIKE = {
    "task_version": 2,
    "budget": {"n_steps": 999},
    "targets": [-500.0],
    "evaluation": {"n_evals": 25, "n_episodes": 9},
    "dt": 0.1,
}


NAMED = {"budget": r"budget\.n_steps", "evaluation": r"evaluation\.n_episodes"}
"""What the message calls a field that is a table."""


@pytest.mark.parametrize("field", UNLIKE)
def test_unlike_runs_are_refused_by_the_field(field, tmp_path):
    old = results(tmp_path / "old", n_seeds=2)
    new = results(tmp_path / "new", n_seeds=2, **{field: UNLIKE[field]})
    with pytest.raises(UserError, match=f"{NAMED.get(field, field)} is"):
        compare(old, new)


def test_other_sets_and_anchors_are_refused(tmp_path):
    old = results(tmp_path / "old", n_seeds=2)
    with pytest.raises(UserError, match="b on made/up is in one of the two"):
        compare(old, results(tmp_path / "more", n_seeds=2, agents=("a", "b")))
    moved = {"random": -999.0, "reference": -100.0, "provenance": "moved"}
    with pytest.raises(UserError, match=r"reference\.random is -999\.0, but -1000\.0"):
        compare(old, results(tmp_path / "moved", n_seeds=2, reference=moved))
    with pytest.raises(UserError, match="no finished run"):
        compare(old, [])


def test_a_run_that_one_side_has_twice_is_refused(tmp_path):
    old = results(tmp_path / "old")
    new = results(tmp_path / "new", first_seed=20)
    new += results(tmp_path / "copy", n_seeds=1, first_seed=20)
    with pytest.raises(UserError, match="the same task, agent and seed as"):
        compare(old, new)


def test_wall_clock_is_compared_on_one_machine_at_one_speed_only(tmp_path):
    old = results(tmp_path / "old", n_seeds=4)
    same = compare(old, results(tmp_path / "same", n_seeds=4))
    other = compare(old, results(tmp_path / "other", n_seeds=4, machine={"cpu": "another"}))
    busy = compare(old, results(tmp_path / "busy", n_seeds=4, speed_gflops=40.0))
    assert "wall s per 1000 steps" in {change.measure for change in same}
    assert "wall s per 1000 steps" not in {change.measure for change in (*other, *busy)}


def test_false_alarms_on_halves_of_the_same_runs_are_rare(tmp_path):
    """Random halves of 16 runs a cell, 200 times: at most one comparison in twenty sounds an alarm."""
    runs = results(tmp_path / "runs", n_seeds=16, agents=("a", "b"), spread=0.3, speed=4.0)
    cells: dict[str, list[Run]] = {}
    for run in runs:
        cells.setdefault(run.record["agent"], []).append(run)
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        halves: tuple[list[Run], list[Run]] = ([], [])
        for cell in cells.values():
            order = rng.permutation(len(cell))
            halves[0].extend(cell[k] for k in order[:8])
            halves[1].extend(cell[k] for k in order[8:])
        alarms += exit_code(compare(*halves)) == 1
    assert alarms <= 10
