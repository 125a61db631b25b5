"""Claims: three-way verdicts from runs whose truth is known, and refusals of what makes no sense."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scipy.stats import norm

from hjbbench.claim import load_claims
from hjbbench.claims import N_RESAMPLES, Verdict, _more_runs, exit_code, judge
from hjbbench.errors import UserError
from hjbbench.stats.bootstrap import tail_probability
from hjbbench.store import read_run, read_runs, write_rows
from tests.synthetic import write_run

FASTER = """
[[claim]]
name = "faster"
text = "At most 60 % of the steps."
kind = "faster"
agent = "a"
baseline = "b"
tasks = ["made/*"]
ratio = 1.667
"""


def claims(tmp_path, text):
    path = tmp_path / "claims.toml"
    path.write_text(text)
    return load_claims(path)


def test_ten_seeds_can_decide_every_shipped_claim():
    shipped = load_claims(Path(__file__).parents[1] / "claims.toml")
    least = tail_probability(1 / (N_RESAMPLES + 1), 10)
    assert all(len(shipped) * least < 1 - claim.confidence for claim in shipped)


def two_agents(root, speed_a=5.0, speed_b=5.0, n_seeds=10, task="made/up", level=1.0, **fields):
    fields["level"] = level
    for seed in range(n_seeds):
        write_run(root, task, "a", seed, speed=speed_a, **fields)
        write_run(root, task, "b", seed, speed=speed_b, **fields)


@pytest.mark.parametrize(
    ("speed_a", "speed_b", "n_seeds", "expected", "code"),
    [
        (15.0, 3.0, 10, "holds", 0),
        (5.0, 5.0, 10, "refuted", 1),
        (3.0, 15.0, 10, "refuted", 1),
        (15.0, 3.0, 4, "undecided", 3),
    ],
)
def test_faster(tmp_path, speed_a, speed_b, n_seeds, expected, code):
    two_agents(tmp_path / "r", speed_a, speed_b, n_seeds)
    (verdict,) = judge(claims(tmp_path, FASTER), read_runs(tmp_path / "r"))
    assert verdict.verdict == expected, verdict
    assert exit_code([verdict]) == code
    assert verdict.n_runs_agent == verdict.n_runs_baseline == n_seeds
    assert verdict.ci_low <= verdict.estimate <= verdict.ci_high
    json.dumps(verdict.per_task)


def test_each_task_says_how_many_runs_reached_the_target_and_what_the_others_count_with(tmp_path):
    two_agents(tmp_path / "r", 15.0, 0.5, 6)
    (verdict,) = judge(claims(tmp_path, FASTER), read_runs(tmp_path / "r"))
    (row,) = verdict.per_task
    budget = read_runs(tmp_path / "r")[0].evals["n_steps"].iloc[-1]
    assert row["note"].startswith("6 of 6 against 0 of 6 runs reached"), row
    assert f"within {budget:g} n_steps" in row["note"]


def test_hours_of_unlike_speeds_carry_a_remark(tmp_path):
    hours = FASTER + 'axis = "t_wall_s"\n'
    for agent, speed, gflops in (("a", 15.0, 80.0), ("b", 3.0, 40.0)):
        for seed in range(6):
            write_run(tmp_path / "r", "made/up", agent, seed, speed=speed, speed_gflops=gflops)
    (in_hours,) = judge(claims(tmp_path, hours), read_runs(tmp_path / "r"))
    (in_steps,) = judge(claims(tmp_path, FASTER), read_runs(tmp_path / "r"))
    remark = "; the machine was between 40 and 80 GFLOP/s fast"
    assert in_hours.per_task[0]["note"].endswith(remark)
    assert in_hours.reason.endswith(remark)
    assert "GFLOP" not in in_steps.per_task[0]["note"]


def test_a_ratio_near_the_demand_is_undecided(tmp_path):
    for seed in range(6):
        write_run(tmp_path / "r", "made/up", "a", seed, level=1.0, speed=10.0 * (1.4 if seed % 2 else 0.6))
        write_run(tmp_path / "r", "made/up", "b", seed, level=1.0, speed=6.0 * (1.4 if seed % 2 else 0.6))
    (verdict,) = judge(claims(tmp_path, FASTER), read_runs(tmp_path / "r"))
    assert verdict.verdict == "undecided"
    assert "cannot tell" in verdict.reason
    assert re.search(r"about \d+ further seeds? a side|more than 200 further seeds", verdict.reason)


def test_seeds_that_are_missing_grow_with_the_square_of_the_distance():
    """One standard error away with 6 runs a side, two needed: 24 runs in all; no distance, no number."""
    measured = {"reason": "", "n_runs_agent": 6, "n_runs_baseline": 8}
    unmeasured = {"reason": "no runs", "n_runs_agent": 1, "n_runs_baseline": 0}
    draft = Verdict("x", "", "undecided", 1.0, None, None, 7, 8, [measured, unmeasured], "", 1.0)
    assert "about 18 further seeds" in _more_runs(norm.sf(1.0), norm.sf(2.0) * 1.0001, draft)
    assert "more than 200" in _more_runs(0.5, 0.05, draft)


def test_failures_count_against_the_agent(tmp_path):
    two_agents(tmp_path / "fine", 15.0, 5.0)
    two_agents(tmp_path / "failing", 15.0, 5.0)
    for seed in range(10, 18):
        write_run(tmp_path / "failing", "made/up", "a", seed, speed=15.0, level=1.0, status="diverged", n_evals_made=5)
    made = claims(tmp_path, FASTER)
    fine, failing = (judge(made, read_runs(tmp_path / name))[0] for name in ("fine", "failing"))
    assert failing.n_runs_agent == 18
    assert failing.estimate < fine.estimate


def test_unmeasured_says_why(tmp_path):
    two_agents(tmp_path / "r", level=0.1)
    (verdict,) = judge(claims(tmp_path, FASTER), read_runs(tmp_path / "r"))
    assert verdict.verdict == "unmeasured"
    assert "no run reached" in verdict.reason
    assert exit_code([verdict]) == 2
    for seed in range(5):
        write_run(tmp_path / "one", "made/up", "a", seed)
        write_run(tmp_path / "one", "other/task", "b", seed)
    (verdict,) = judge(claims(tmp_path, FASTER), read_runs(tmp_path / "one"))
    assert verdict.verdict == "unmeasured"
    assert "no runs of b" in verdict.reason
    assert verdict.per_task[0]["n_runs_baseline"] == 0


def test_a_task_nobody_solves_is_a_draw_beside_others(tmp_path):
    two_agents(tmp_path / "r", 15.0, 3.0)
    two_agents(tmp_path / "hard", 15.0, 3.0, task="made/hard", level=0.1)
    easy, hard = (read_runs(tmp_path / name) for name in ("r", "hard"))
    made = claims(tmp_path, FASTER)
    (alone,), (both,) = judge(made, easy), judge(made, easy + hard)
    assert alone.verdict == "holds"
    assert both.estimate == pytest.approx(alone.estimate**0.5)
    draw, _ = both.per_task
    assert (draw["task"], draw["estimate"]) == ("made/hard", 1.0)
    assert draw["note"].startswith("no run reached -280 within")


def test_hours_are_not_judged_where_the_cheaper_agent_ended(tmp_path):
    """One run in eight arrives at all, but cheaply; the baseline's all arrive, after that agent's budget is spent."""
    hours = FASTER.replace("1.667", "1.0") + 'axis = "t_wall_s"\n'
    for seed in range(8):
        for agent, level, pace in (("a", 1.0 if seed == 0 else 0.1, 1.0), ("b", 1.0, 10.0)):
            folder = write_run(tmp_path / "r", "made/up", agent, seed, speed=10.0, level=level)
            rows = read_run(folder).evals.to_dict("records")
            slower = [row | {"t_wall_s": pace * row["t_wall_s"]} for row in rows]
            write_rows(folder / "evals.csv", list(rows[0]), slower)
    (verdict,) = judge(claims(tmp_path, hours), read_runs(tmp_path / "r"))
    assert verdict.verdict == "refuted", verdict


def test_a_draw_decides_nothing(tmp_path):
    for seed in range(8):
        for agent in ("a", "b"):
            folder = write_run(tmp_path / "r", "made/up", agent, seed)
            rows = read_run(folder).evals.to_dict("records")
            write_rows(folder / "evals.csv", list(rows[0]), [row | {"action_rate_rms_per_s": 3.0} for row in rows])
    (verdict,) = judge(claims(tmp_path, SMOOTHER.replace("2.0", "1.0")), read_runs(tmp_path / "r"))
    assert (verdict.verdict, verdict.estimate) == ("undecided", pytest.approx(1.0))


def test_runs_that_do_not_compare_are_refused(tmp_path):
    two_agents(tmp_path / "r", 15.0, 3.0, n_seeds=2)
    runs = read_runs(tmp_path / "r")
    with pytest.raises(UserError, match="the same task, agent and seed"):
        judge(claims(tmp_path, FASTER), [*runs, *runs])
    two_agents(tmp_path / "other", 15.0, 3.0, n_seeds=1, dt=0.1)
    with pytest.raises(UserError, match=r"dt is 0.1, but 0.05"):
        judge(claims(tmp_path, FASTER), [*runs, *read_runs(tmp_path / "other")])


SMOOTHER = """
[[claim]]
name = "smoother"
text = "At most half the action rate."
kind = "smoother"
agent = "a"
baseline = "b"
tasks = ["made/up"]
ratio = 2.0
"""


def test_smoother_only_at_an_equal_return(tmp_path):
    for seed in range(8):
        write_run(tmp_path / "r", "made/up", "a", seed, action_rate=1.0)
        write_run(tmp_path / "r", "made/up", "b", seed, action_rate=4.0)
        write_run(tmp_path / "worse", "made/up", "a", seed, action_rate=1.0, level=0.5)
        write_run(tmp_path / "worse", "made/up", "b", seed, action_rate=4.0)
        write_run(tmp_path / "better", "made/up", "a", seed, action_rate=1.0)
        write_run(tmp_path / "better", "made/up", "b", seed, action_rate=4.0, level=0.5)
    (verdict,) = judge(claims(tmp_path, SMOOTHER), read_runs(tmp_path / "r"))
    assert verdict.verdict == "holds"
    assert verdict.estimate == pytest.approx(4.0, rel=0.3)
    for name, side in (("worse", "lower"), ("better", "higher")):
        (verdict,) = judge(claims(tmp_path, SMOOTHER), read_runs(tmp_path / name))
        assert verdict.verdict == "unmeasured"
        assert f"{side}: not an equal return" in verdict.reason


def test_a_baseline_that_stands_still_now_and_then_is_the_smoother_one(tmp_path):
    for seed in range(8):
        write_run(tmp_path / "r", "made/up", "a", seed, action_rate=1.0)
        write_run(tmp_path / "r", "made/up", "b", seed, action_rate=0.1 if seed else 0.0)
    (verdict,) = judge(claims(tmp_path, SMOOTHER), read_runs(tmp_path / "r"))
    assert verdict.verdict == "refuted", verdict
    assert verdict.estimate < 0.2


def test_a_claim_is_decided_beyond_its_one_sided_bounds(tmp_path):
    """Bounds and p-value of a claim that stands alone say the same, so both are corrected for few runs alike."""
    for seed in range(6):
        write_run(tmp_path / "r", "made/up", "a", seed, action_rate=1.0)
        write_run(tmp_path / "r", "made/up", "b", seed, action_rate=4.0)
    runs = read_runs(tmp_path / "r")

    def verdict(ratio):
        return judge(claims(tmp_path, SMOOTHER.replace("2.0", str(ratio))), runs)[0]

    bounds = verdict(2.0)
    assert bounds.ci_low < bounds.estimate < bounds.ci_high
    expected = {0.99: ("holds", "undecided"), 1.01: ("undecided", "refuted")}
    for factor, verdicts in expected.items():
        assert (verdict(factor * bounds.ci_low).verdict, verdict(factor * bounds.ci_high).verdict) == verdicts


def test_only_runs_that_are_evidence_count(tmp_path):
    for seed in range(6):
        lost = {"status": "diverged", "error": "nan"} if seed % 3 else {}
        write_run(tmp_path / "r", "made/up", "a", seed, action_rate=1.0, **lost)
        write_run(tmp_path / "r", "made/up", "b", seed, action_rate=4.0, **lost)
    (verdict,) = judge(claims(tmp_path, SMOOTHER), read_runs(tmp_path / "r"))
    assert (verdict.verdict, verdict.n_runs_baseline) == ("undecided", 6)
    # finished ones, which alone have a smoothness
    assert verdict.reason == "2 runs on a side (a on made/up, b on made/up): 3 more seeds needed to decide"


def test_a_single_run_bounds_no_claim(tmp_path):
    two_agents(tmp_path / "r", 15.0, 3.0, n_seeds=1)
    (verdict,) = judge(claims(tmp_path, FASTER), read_runs(tmp_path / "r"))
    assert verdict.verdict == "undecided"
    assert verdict.estimate > 1
    assert verdict.ci_low is verdict.ci_high is verdict.per_task[0]["ci_low"] is None


OTHERS = """
[[claim]]
name = "value"
text = "Within 5 %."
kind = "value"
agent = "a"
tasks = ["made/up"]
at_most = 0.05

[[claim]]
name = "robust"
text = "Keeps 95 %."
kind = "robust"
agent = "a"
tasks = ["made/up"]
at_least = 0.95
"""


@pytest.mark.parametrize(
    ("error", "kept", "expected"), [(0.03, 0.99, "holds"), (0.08, 0.5, "refuted"), (None, None, "unmeasured")]
)
def test_value_and_robust(tmp_path, error, kept, expected):
    for seed in range(6):
        folder = write_run(tmp_path / "r", "made/up", "a", seed)
        rows = read_runs(tmp_path / "r")[-1].evals.to_dict("records")
        for row in rows:
            row["value_error_rel_l2"] = None if error is None else error + 0.001 * seed
        write_rows(folder / "evals.csv", list(rows[0]), rows)
        if kept is not None:
            own = -1000 + 900 * 0.8
            swept = [{"dt_factor": 1, "return_mean": own}, {"dt_factor": 4, "return_mean": -1000 + 900 * 0.8 * kept}]
            write_rows(folder / "dt_sweep.csv", ["dt_factor", "return_mean"], swept)
    verdicts = judge(claims(tmp_path, OTHERS), read_runs(tmp_path / "r"))
    assert [verdict.verdict for verdict in verdicts] == [expected, expected]
    if kept is not None:
        assert verdicts[1].estimate == pytest.approx(kept)


def test_many_claims_are_corrected_together(tmp_path):
    """A p-value that decides one claim alone does not decide it among a hundred."""
    for seed in range(5):
        write_run(tmp_path / "r", "made/up", "a", seed, level=1.0, speed=11.0 * (1.3 if seed % 2 else 0.7))
        write_run(tmp_path / "r", "made/up", "b", seed, level=1.0, speed=4.0 * (1.3 if seed % 2 else 0.7))
    runs = read_runs(tmp_path / "r")
    alone = judge(claims(tmp_path, FASTER), runs)[0]
    assert alone.verdict == "holds"
    many = FASTER + "".join(FASTER.replace('"faster"', f'"faster-{k}"', 1).replace("1.667", "2.4") for k in range(200))
    assert judge(claims(tmp_path, many), runs)[0].verdict == "undecided"


WRONG = {
    'kind = "faster"': ('kind = "quicker"', "kind is 'quicker', must be one of faster"),
    "ratio = 1.667": ("ratio = -1.0", "ratio is -1.0, must be a positive number"),
    'text = "At most 60 % of the steps."': ("text = 3", "text is 3, must be of type str"),
    'baseline = "b"': ("", "'baseline' is missing"),
    'tasks = ["made/*"]': ('tasks = ["made/*"]\naxis = "t_moon"', "axis is 't_moon', must be one of n_steps"),
    'agent = "a"': ('agent = "a"\nraito = 2.0', "did you mean ratio"),
    'name = "faster"': ('name = "faster"\ntarget = "easiest"', "target is 'easiest', must be hardest or an index"),
    "[[claim]]": ("[[claim]]\nconfidence = 1.5", "confidence is 1.5"),
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_claims_are_one_clear_line(line, tmp_path):
    replacement, expected = WRONG[line]
    with pytest.raises(UserError) as caught:
        claims(tmp_path, FASTER.replace(line, replacement))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_files_and_names(tmp_path):
    with pytest.raises(UserError, match="used twice"):
        claims(tmp_path, FASTER + FASTER)
    with pytest.raises(UserError, match="nothing else"):
        claims(tmp_path, "title = 'x'")
    with pytest.raises(UserError, match="not readable"):
        claims(tmp_path, "[[claim")
    two_agents(tmp_path / "r", n_seeds=1)
    runs = read_runs(tmp_path / "r")
    with pytest.raises(UserError, match="unknown agent 'nobody'"):
        judge(claims(tmp_path, FASTER.replace('"b"', '"nobody"')), runs)
    with pytest.raises(UserError, match=r"unknown task 'mad/\*'"):
        judge(claims(tmp_path, FASTER.replace("made/*", "mad/*")), runs)


def test_index_target(tmp_path):
    two_agents(tmp_path / "r", 15.0, 3.0, level=0.6)  # reaches the first target only
    first = judge(claims(tmp_path, FASTER + "target = 0\n"), read_runs(tmp_path / "r"))[0]
    assert first.verdict == "holds"
    third = judge(claims(tmp_path, FASTER + "target = 2\n"), read_runs(tmp_path / "r"))[0]
    assert "the task has 2 targets, no index 2" in third.reason
