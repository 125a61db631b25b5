"""Suites become runs: the shipped files are sound, and partial results stay balanced."""

from __future__ import annotations

from pathlib import Path

import pytest

from hjbbench.claim import load_claims
from hjbbench.claims import judge
from hjbbench.errors import UserError
from hjbbench.planning import load_suite, parse_seeds, plan, suite_names
from hjbbench.registry import get_task


@pytest.mark.parametrize("name", suite_names())
def test_shipped_suites_plan_without_an_error(name):
    runs, left_out = plan(load_suite(name))
    assert runs
    assert len({(run.task, run.agent, run.seed) for run in runs}) == len(runs)
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)  # seed by seed across all cells
    for reason in left_out:
        assert any(word in reason for word in ("scripted", "deep-bsde", "grid", "pinn", "value-flow-quadratic"))
    for run in runs:
        run.config_hash()


def test_shipped_claims_name_what_exists():
    claims = load_claims(Path(__file__).parent.parent / "claims.toml")
    assert {claim.kind for claim in claims} == {"faster", "smoother", "value", "robust"}
    assert {verdict.verdict for verdict in judge(claims, [])} == {"unmeasured"}


def test_hash_follows_what_decides_a_run_and_nothing_else():
    suite = load_suite("quick")

    def digest(**changes):
        (run, *_), _ = plan(suite, tasks="oracle/oscillator", agents="sac", seeds="0", **changes)
        return run.config_hash()

    assert digest() == digest(keep_policy=True)
    assert len({digest(), digest(n_steps=99), digest(overrides={"sac": {"batch_size": 64}})}) == 3


def test_the_standard_suite_is_balanced_at_any_time():
    suite = load_suite("standard")
    runs, left_out = plan(suite)
    assert not left_out
    cells = {(run.task, run.agent) for run in runs}
    assert len(cells) == len(suite.tasks) * len(suite.agents)
    for seed in range(10):
        made = [(run.task, run.agent) for run in runs if run.seed == seed]
        assert len(made) == len(set(made))
        assert set(made) == {cell for cell in cells if seed < 3 or cell[1] != "mbpo"}
    assert {run.dt_factors for run in runs if run.task == "control/pendulum"} == {(0.25, 0.5, 1.0, 2.0, 4.0)}
    assert {run.dt_factors for run in runs if run.task.startswith("locomotion/")} == {()}


def test_optional_tasks_are_planned_where_they_are_asked_for():
    suite = load_suite("standard")
    assert suite.optional_tasks == ["locomotion/swimmer", "locomotion/half-cheetah-gusty"]
    assert not {run.task for run in plan(suite)[0]} & set(suite.optional_tasks)
    asked, _ = plan(suite, tasks="locomotion/swimmer,control/*", agents="sac", seeds="0")
    assert {run.task for run in asked} == {"locomotion/swimmer", "control/pendulum"}


def test_training_at_another_interval_takes_the_same_simulated_time():
    def seconds(name: str) -> dict[str, float]:
        return {run.task: run.n_steps * run.resolve()[0].dt for run in plan(load_suite(name), agents="sac")[0]}

    own = seconds("dt-sweep")
    for name, tasks in {"quarter": 1, "half": 2, "twice": 2, "four-times": 2}.items():
        other = seconds(f"dt-{name}")
        assert len(other) == tasks
        assert other == pytest.approx({task: own[task] for task in other})
    (run,), _ = plan(load_suite("dt-quarter"), agents="sac", seeds="0")
    assert run.resolve()[0].dt == get_task("control/pendulum").dt / 4


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('dt_factors = { "example/integrator" = 2 }', "dt_factors.example/integrator is 2, must be a list of numbers"),
        ('dt_factors = { "*" = [1, 0] }', r"dt_factors.\*\[1\] is 0, must be a positive number"),
        ('dt_factor = { "*" = "half" }', r"dt_factor.\* is 'half', must be a positive number"),
        ('dt_factor = { "*" = inf }', r"dt_factor.\* is inf, must be a positive number"),
        ('dt_factor = { "example/integratr" = 2 }', "dt_factor: unknown task 'example/integratr'; did you mean"),
        (
            'agent_seeds = { proportinal = "0-4" }',
            "agent_seeds: unknown agent 'proportinal'; did you mean proportional",
        ),
        ('variants = { sac = { agent = "random" } }', "variants.sac has the name of a registered agent"),
        ('variants = { "../up" = { agent = "random" } }', "variant '../up': must be a name of letters"),
        ("optional_tasks = [3]", "optional_tasks holds 3, must hold names"),
    ],
)
def test_wrong_values_and_names_are_refused_in_one_line(suite_file, line, message):
    suite_file.write_text(suite_file.read_text() + line + "\n")
    with pytest.raises(UserError, match=message):
        load_suite(str(suite_file))


def test_seeds():
    assert parse_seeds("0-3") == [0, 1, 2, 3]
    assert parse_seeds("7") == [7]
    assert parse_seeds("0, 2,5-6,2") == [0, 2, 5, 6]
    for wrong in ("3-1", "", "-1", "a", "1-", "1--2", "١"):
        with pytest.raises(UserError, match="seeds"):
            parse_seeds(wrong)


def test_globs_and_budgets():
    suite = load_suite("quick")
    runs, _ = plan(suite, tasks="control/*,oracle/*", agents="r*", seeds="4")
    assert {(run.task, run.agent, run.seed) for run in runs} == {
        ("control/pendulum", "random", 4),
        ("oracle/oscillator", "random", 4),
    }
    assert {run.task: run.n_steps for run in runs}["control/pendulum"] == suite.n_steps["control/pendulum"]
    with pytest.raises(UserError, match="unknown task 'hihgway"):
        plan(suite, tasks="hihgway/*")
    with pytest.raises(UserError, match="agent in --set"):
        plan(suite, overrides={"sca": {"tau": 0.1}})
