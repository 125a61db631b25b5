"""What the report concludes: many targets at once, smoothness at equal return, claims, provenance."""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from hjbbench.errors import UserError
from hjbbench.evidence import roughness
from hjbbench.metrics.convergence import hitting_time
from hjbbench.report import write_report
from hjbbench.report.cells import collect
from hjbbench.report.convergence import LEVELS, convergences, level_times, over_cost, resolution
from hjbbench.report.provenance import configurations
from hjbbench.report.robustness import sweeps
from hjbbench.report.smoothness import against_best, pairs
from hjbbench.report.standings import Leaderboard, rank
from hjbbench.stats.survival import runtime_ecdf
from hjbbench.store import read_runs
from tests.synthetic import BUDGET_STEPS, write_run, write_suite


def board_of(root: Path) -> Leaderboard:
    return rank("synthetic", collect(read_runs(root)))


def test_the_runtime_distribution_counts_every_level_run_and_task(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b", "a/c"], {"x": 0.9}, n_seeds=3)
    write_run(tmp_path, "a/b", "x", 3, status="diverged", error="nan", n_evals_made=20)
    board = board_of(tmp_path)
    (row,) = convergences(board.tasks, ["x"])
    times = {task.name: level_times(task.agents["x"], task.steps) / BUDGET_STEPS for task in board.tasks}
    assert {name: runs.shape for name, runs in times.items()} == {"a/b": (4, 20), "a/c": (3, 20)}
    assert np.isinf(times["a/b"][3]).all()  # what failed has reached nothing
    first = board.tasks[0].agents["x"].scores[0]
    assert times["a/b"][0, 9] == hitting_time(board.tasks[0].steps, first, 0.5) / BUDGET_STEPS
    estimate, low, high = row.band
    assert estimate.tolist() == runtime_ecdf(times, row.shares).tolist()
    assert (np.diff(estimate) >= 0).all()
    assert (low <= estimate).all()
    assert (estimate <= high).all()
    assert estimate[-1] < 6 / 7  # the failed run stays in the denominator
    assert row.n_runs == 7
    at_end = row.reached_by(1.0)
    assert at_end is not None
    assert at_end.estimate == estimate[-1]
    assert row.reached_by(row.shares[0] / 2) is None


def test_a_faster_agent_has_the_larger_area(tmp_path: Path) -> None:
    for agent, speed in (("slow", 3.0), ("fast", 12.0)):
        for seed in range(3):
            write_run(tmp_path, "a/b", agent, seed, level=1.0, spread=0.0, speed=speed)
    rows = convergences(board_of(tmp_path).tasks, ["slow", "fast"])
    assert [row.agent for row in rows] == ["fast", "slow"]
    assert rows[0].area.low > rows[1].area.high


def test_levels_span_random_to_reference() -> None:
    assert (len(LEVELS), LEVELS[0], LEVELS[-1]) == (20, 0.05, 1.0)


def test_scores_over_another_cost_are_those_of_the_last_evaluation(tmp_path: Path) -> None:
    write_run(tmp_path, "a/b", "x", 0)
    write_run(tmp_path, "a/b", "x", 1, status="diverged", error="nan", n_evals_made=10)
    task = board_of(tmp_path).tasks[0]
    cell = task.agents["x"]
    costs, scores = over_cost(cell, "t_wall_s", n_points=500)
    table = read_runs(tmp_path)[0].evals
    for cost in (table["t_wall_s"][3], table["t_wall_s"][12]):
        at = np.searchsorted(costs, cost, side="right") - 1
        done = np.searchsorted(table["t_wall_s"], costs[at], side="right") - 1
        assert scores[0, at] == cell.scores[0, done]
    assert scores[1, -1] == 0  # from where it stopped
    assert scores[0, -1] == cell.scores[0, -1]


def test_the_smallest_detectable_speed_up_shrinks_with_runs(tmp_path: Path) -> None:
    for n in (3, 10):
        write_suite(tmp_path / str(n), ["a/b"], {"x": 1.0, "y": 1.0}, n_seeds=n)
    few, many = (resolution(board_of(tmp_path / n).tasks, ["x", "y"]) for n in ("3", "10"))
    assert few is not None
    assert many is not None
    assert (few.n_runs, many.n_runs) == (3, 10)
    assert 1 < many.ratio < few.ratio
    hits = [np.log(cell.hit_steps) for cell in board_of(tmp_path / "10").tasks[0].agents.values()]
    assert many.log_sd == pytest.approx(math.sqrt(sum(log.var(ddof=1) for log in hits) / 2))


def test_without_a_spread_of_times_nothing_is_said_of_detectable_speed_ups(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b"], {"x": 0.1}, n_seeds=3)
    assert resolution(board_of(tmp_path).tasks, ["x"]) is None


def test_an_agent_that_is_not_compared_does_not_count_for_the_number_of_runs(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b"], {"x": 1.0, "y": 1.0}, n_seeds=5)
    write_suite(tmp_path, ["a/b"], {"late": 1.0}, n_seeds=1)
    tasks = board_of(tmp_path).tasks
    assert [resolution(tasks, agents).n_runs for agents in (["x", "y"], ["x", "late"])] == [5, 1]


def smoothness_suite(root: Path) -> Leaderboard:
    """calm and rough reach the same return, lazy hardly moves and reaches nothing."""
    for agent, level, rate in (("calm", 0.9, 2.0), ("rough", 0.9, 8.0), ("lazy", 0.3, 0.1)):
        for task in ("a/b", "a/c"):
            for seed in range(4):
                write_run(root, task, agent, seed, level=level, spread=0.005, action_rate=rate)
    return board_of(root)


def test_smoothness_compares_only_agents_of_equal_return(tmp_path: Path) -> None:
    board = smoothness_suite(tmp_path)
    (pair,) = pairs(board)
    assert (pair.smoother, pair.rougher, pair.n_tasks, pair.n_runs) == ("calm", "rough", 2, (8, 8))
    rates = [
        [task.agents[agent].final_column("action_rate_rms_per_s").mean() for task in board.tasks]
        for agent in ("rough", "calm")
    ]
    expected = math.exp(np.mean(np.log(rates[0]) - np.log(rates[1])))
    assert pair.ratio.estimate == pytest.approx(expected)
    assert pair.decided
    assert pair.ratio.low < expected < pair.ratio.high


def test_page_and_claims_compare_the_same_agents(tmp_path: Path) -> None:
    """Means decide, not IQMs: one bad seed of four leaves no equal return; two far below the best may have one."""
    for seed in range(4):
        write_run(tmp_path, "a/b", "best", seed, level=0.9, spread=0.0)
        write_run(tmp_path, "a/b", "shaky", seed, level=0.9 if seed else 0.1, spread=0.0)
        for agent, rate in (("poor-and-calm", 1.0), ("poor-and-rough", 3.0)):
            write_run(tmp_path, "a/b", agent, seed, level=0.4, spread=0.0, action_rate=rate)
        for agent in ("idle", "idle-too"):
            write_run(tmp_path, "a/b", agent, seed, level=0.01, spread=0.0)
    runs = read_runs(tmp_path)
    board = rank("synthetic", collect(runs))
    (pair,) = pairs(board)
    assert (pair.smoother, pair.rougher) == ("poor-and-calm", "poor-and-rough")
    by_agent = {agent: [run for run in runs if run.record["agent"] == agent] for agent in board.tasks[0].agents}
    for one, other in combinations(sorted(by_agent), 2):
        says = roughness(by_agent[one], by_agent[other], "action_rate_rms_per_s")
        assert (says.reason is None) == ({one, other} == {pair.smoother, pair.rougher}), (one, other)


def test_the_best_agent_s_rate_is_set_against_those_of_equal_return(tmp_path: Path) -> None:
    board = smoothness_suite(tmp_path)
    rows = against_best(board.tasks[0], board.per_task["a/b"])
    by_agent = {row.standing.agent: row for row in rows}
    best, second = rows[0], rows[1]
    assert best.ratio is None
    assert second.ratio is not None
    assert (second.ratio.estimate > 1) == (second.standing.agent == "calm")
    assert by_agent["lazy"].ratio is None
    gap = np.subtract(*(board.tasks[0].agents[agent].final_scores.mean() for agent in (best.standing.agent, "lazy")))
    assert by_agent["lazy"].why_unequal == f"mean score is {gap:.3f} lower: not an equal return"
    rate = by_agent["lazy"].measures["action_rate_rms_per_s"]
    assert rate is not None
    assert rate.low < rate.estimate < rate.high


def test_a_single_run_decides_no_pair_and_a_still_policy_has_no_ratio(tmp_path: Path) -> None:
    for agent, rate in (("calm", 1.0), ("rough", 9.0), ("still", 1e-300)):
        write_run(tmp_path, "a/b", agent, 0, level=0.9, spread=0.0, action_rate=rate)
    still = tmp_path / "a/b/still/seed-00/evals.csv"
    lines = still.read_text().splitlines()
    column = lines[0].split(",").index("action_rate_rms_per_s")
    rows = [line.split(",") for line in lines[1:]]
    still.write_text("\n".join([lines[0], *(",".join([*r[:column], "0.0", *r[column + 1 :]]) for r in rows)]) + "\n")
    found = pairs(board_of(tmp_path))
    assert [(pair.smoother, pair.rougher, pair.decided) for pair in found] == [("calm", "rough", False)]


def write_sweep(run: Path, returns: dict[float, float]) -> None:
    (run / "dt_sweep.csv").write_text("dt_factor,return_mean\n" + "".join(f"{k},{v}\n" for k, v in returns.items()))


def test_other_control_intervals_stand_in_a_table_of_the_task(tmp_path: Path) -> None:
    for seed, returns in enumerate(({0.5: -280.0, 1: -100.0, 2: -1100.0}, {0.5: -100.0, 1: -100.0, 2: -550.0})):
        write_sweep(write_run(tmp_path, "a/b", "swept", seed), returns)
    write_run(tmp_path, "a/b", "swept", 2, status="diverged", error="nan", n_evals_made=3)
    write_sweep(write_run(tmp_path, "a/b", "half-swept", 0), {1: -100.0})
    write_run(tmp_path, "a/b", "half-swept", 1)
    write_run(tmp_path, "a/c", "swept", 0)
    board = board_of(tmp_path)
    runs = [run for run in read_runs(tmp_path) if run.record["task"] == "a/b"]
    (found,) = sweeps(runs, board.per_task["a/b"])
    assert found.standing.agent == "swept"
    expected = {0.5: (0.8 + 1) / 3, 1: 2 / 3, 2: (0 + 0.5) / 3}  # the failed run scores 0, a score is not below 0
    assert {factor: score.estimate for factor, score in found.scores.items()} == pytest.approx(expected)
    assert found.kept.estimate == pytest.approx((0 + 0.5 + 0) / 3)
    html = write_report(tmp_path)[1].read_text(encoding="utf-8")
    assert html.count("Other control intervals on") == 1
    assert [f"Every {dt} s</th>" in html for dt in ("0.025", "0.05", "0.1")] == [True] * 3


def test_two_configurations_under_one_name_are_refused(tmp_path: Path) -> None:
    first = write_run(tmp_path, "a/b", "x", 0)
    second = write_run(tmp_path, "a/b", "x", 1, config_hash="f" * 16)
    with pytest.raises(UserError, match="two configurations are two agents") as caught:
        collect(read_runs(tmp_path))
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_configurations_are_listed_with_their_tasks_and_hashes(tmp_path: Path) -> None:
    write_run(tmp_path, "a/b", "x", 0)
    write_run(tmp_path, "a/c", "x", 0, config_hash="1" * 16)
    (found,) = configurations(read_runs(tmp_path), board_of(tmp_path).tasks)
    assert found.uses == [("a/b", "0" * 16), ("a/c", "1" * 16)]
    assert json.loads(found.text) == {"learning_rate": 3e-4}


CLAIM = """
[[claim]]
name = "{name}"
text = "{text}"
kind = "faster"
agent = "{agent}"
baseline = "{baseline}"
tasks = ["a/*"]
ratio = 1.5
"""


def test_claims_stand_on_the_page_as_what_they_are(tmp_path: Path) -> None:
    runs, path = tmp_path / "runs", tmp_path / "claims.toml"
    for agent, speed in (("fast", 20.0), ("slow", 4.0)):
        for seed in range(6):
            write_run(runs, "a/b", agent, seed, level=1.0, spread=0.01, speed=speed)
    write_run(runs, "a/c", "idle", 0)
    path.write_text(
        CLAIM.format(name="true-one", text="fast is <b>faster</b>", agent="fast", baseline="slow")
        + CLAIM.format(name="false-one", text="slow is faster", agent="slow", baseline="fast")
        + CLAIM.format(name="empty-one", text="idle is faster", agent="idle", baseline="slow")
    )
    text, page = write_report(runs, path)
    assert "Of 3 claims judged, holds: 1, refuted: 1, undecided: 0, unmeasured: 1." in text
    html = page.read_text(encoding="utf-8")
    written = json.loads((runs / "report" / "claims.json").read_text())
    markdown = (runs / "report" / "leaderboard.md").read_text()
    assert [text in markdown for text in ("&lt;b>faster", "slow is faster", "idle is faster")] == [True, True, False]
    assert [each["verdict"] for each in written] == ["holds", "refuted", "unmeasured"]
    section = html[html.index('id="claims"') : html.index('id="convergence"')]
    for verdict, symbol in (("holds", "✓"), ("refuted", "✗"), ("unmeasured", "–")):
        badge = f'<span class="badge {verdict}"><span aria-hidden="true">{symbol}</span> {verdict}'
        assert section.count(badge) == 2  # in the tally and with the claim
    assert "fast is &lt;b&gt;faster" in section
    fold = section.index("<summary>1 claim that these runs do not measure</summary>")
    assert section.index("false-one") < fold < section.index("empty-one")
    assert section.count("demanded ≥ 1.5 at 95 %") == 3
    assert section.count('class="against') == 2  # what was not measured has no interval


def test_without_claims_the_page_says_nothing_of_them(tmp_path: Path) -> None:
    write_run(tmp_path, "a/b", "x", 0)
    html = write_report(tmp_path)[1].read_text(encoding="utf-8")
    assert 'id="claims"' not in html
    assert not (tmp_path / "report" / "claims.json").exists()
