"""Old results against new ones: a regression is worse by a factor that matters and by more than chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hjbbench.alike import check_alike, check_conditions
from hjbbench.errors import UserError
from hjbbench.evidence import final_mean
from hjbbench.metrics.convergence import hitting_time
from hjbbench.scores import evaluation_steps, final_scores
from hjbbench.speed import why_times_differ
from hjbbench.stats.comparison import MIN_NEW, MIN_REFERENCES, holm, mann_whitney, too_fast
from hjbbench.store import Run

FACTOR = 1.2
"""Worse by less than this is not worth an alarm (as asv's default, in the direction of worse)."""
SCORE_DROP = 0.05
"""The same for scores, which have a natural unit: the way from random to reference."""
ALPHA = 0.05


@dataclass(frozen=True)
class Change:
    """One measure of one agent on one task, before and after (means over runs)."""

    task: str
    agent: str
    measure: str
    old: float
    new: float
    matters: bool
    """Whether it got worse by more than the practical factor."""
    p_worse: float
    """One-sided Mann-Whitney p-value that the new runs are worse, Holm-corrected over all changes."""
    verdict: str
    """regression | suspicious | unchanged | undecided"""


Cells = dict[tuple[str, str], list[Run]]


def compare(old: Sequence[Run], new: Sequence[Run]) -> list[Change]:
    """Compare every agent on every task.

    Raises UserError naming the field in which runs are unlike, or the run that one of the two has twice.
    """
    check_alike(old)
    check_alike(new)
    before, after = _cells(old), _cells(new)
    if before.keys() != after.keys():
        task, agent = sorted(before.keys() ^ after.keys())[0]
        raise UserError(f"{agent} on {task} is in one of the two results only; compare like with like")
    check_conditions([*old, *new])
    drafts = [_measure(key, before[key], after[key]) for key in sorted(before)]
    changes = {(c.task, c.agent, c.measure): c for cell in drafts for c in cell}
    names = {" ".join(key): key for key in changes}
    adjusted = holm({name: changes[key].p_worse for name, key in names.items()})
    return [
        _judge(changes[key], adjusted[name], len(changes), before[key[:2]], after[key[:2]])
        for name, key in names.items()
    ]


def exit_code(changes: Sequence[Change]) -> int:
    """0 no regression, 1 a regression, 3 too few runs to see one."""
    found = {change.verdict for change in changes}
    return 1 if "regression" in found else 3 if "undecided" in found else 0


def _cells(runs: Sequence[Run]) -> Cells:
    cells: Cells = {}
    for run in runs:
        if run.record["status"] != "interrupted":
            cells.setdefault((run.record["task"], run.record["agent"]), []).append(run)
    if not cells:
        raise UserError("no finished run in one of the two results")
    return cells


def _measure(key: tuple[str, str], old: list[Run], new: list[Run]) -> list[Change]:
    first = old[0]
    changes = []
    for name, measure in MEASURES.items():
        if name == PACE and why_times_differ([run.record for run in (*old, *new)]):
            continue  # they say nothing about the code
        costs_old, costs_new = measure(old), measure(new)
        if not (len(costs_old) and len(costs_new)):
            continue
        p = mann_whitney(costs_new, costs_old, alternative="greater")
        limit = first.record["budget"]["n_steps"] if name == STEPS else math.inf
        before, after = (float(np.minimum(costs, limit).mean()) for costs in (costs_old, costs_new))
        matters = after - before > SCORE_DROP if name == SHORTFALL else after > FACTOR * before
        changes.append(Change(*key, name, before, after, matters, p, "unchanged"))
    return changes


def _judge(change: Change, p_worse: float, n_changes: int, old: list[Run], new: list[Run]) -> Change:
    verdict = change.verdict
    least_p = 1 / math.comb(len(old) + len(new), len(old))  # of the exact test, where every new run is the worse
    if change.matters and p_worse <= ALPHA:
        verdict = "regression"
    elif least_p > ALPHA or (change.matters and n_changes * least_p > ALPHA):
        verdict = "undecided"
    elif change.measure == STEPS and FACTOR * change.new < change.old:
        before = _steps_to_target(old)
        enough = len(old) >= MIN_REFERENCES and len(new) >= MIN_NEW
        if enough and np.isfinite(before).all() and too_fast(_steps_to_target(new), before):
            verdict = "suspicious"  # a mistake is likelier than that much progress
    return replace(change, p_worse=p_worse, verdict=verdict)


def _shortfall(runs: list[Run]) -> np.ndarray:
    return 1 - final_scores(runs, evaluation_steps(runs))


def _steps_to_target(runs: list[Run]) -> np.ndarray:
    if not runs[0].record["targets"]:
        return np.empty(0)
    times = []
    for run in runs:
        done = run.record["status"] == "done"
        target = run.record["targets"][-1]
        times.append(hitting_time(run.evals["n_steps"], run.evals["return_mean"], target) if done else math.inf)
    return np.array(times)


def _action_rate(runs: list[Run]) -> np.ndarray:
    values = np.array([final_mean(run, run.evals, "action_rate_rms_per_s") for run in runs])
    return values[np.isfinite(values)]


def _pace(runs: list[Run]) -> np.ndarray:
    totals = [run.record["totals"] for run in runs if run.record["status"] == "done"]
    return np.array([1000 * each["t_wall_s"] / each["n_steps"] for each in totals if each["n_steps"]])


SHORTFALL, STEPS, PACE = "shortfall from the reference score", "steps to the hardest target", "wall s per 1000 steps"
MEASURES: dict[str, Callable[[list[Run]], np.ndarray]] = {
    SHORTFALL: _shortfall,
    STEPS: _steps_to_target,
    "action_rate_rms_per_s": _action_rate,
    PACE: _pace,
}
"""What is compared, each per run and less is better."""
