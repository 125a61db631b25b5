"""Suites become runs: the shipped files are sound, and partial results stay balanced."""

from __future__ import annotations

from pathlib import Path

import pytest

from hjbbench.claims import judge, load_claims
from hjbbench.errors import UserError
from hjbbench.planning import load_suite, parse_seeds, plan, suite_names


@pytest.mark.parametrize("name", suite_names())
def test_shipped_suites_plan_without_an_error(name):
    runs, left_out = plan(load_suite(name))
    assert runs
    assert len({(run.task, run.agent, run.seed) for run in runs}) == len(runs)
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)  # seed by seed across all cells
    for reason in left_out:
        assert any(word in reason for word in ("scripted", "deep-bsde", "grid", "pinn"))
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
