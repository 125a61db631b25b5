"""What stored runs say about a claim: one positive number per run and task, on both sides of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hjbbench.metrics.convergence import hitting_time
from hjbbench.speed import why_times_differ
from hjbbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

EQUAL_RETURN = 0.05
"""Returns count as equal when one is not worse by more than this share of the way from random to reference."""


@dataclass(frozen=True)
class TaskEvidence:
    """One task's measurements: (n_runs,) for the agent and the baseline, or why there are none; a note to either."""

    agent: np.ndarray = field(default_factory=lambda: np.empty(0))
    baseline: np.ndarray = field(default_factory=lambda: np.empty(0))
    reason: str | None = None
    note: str = ""


def final_mean(run: Run, evals: pd.DataFrame, column: str) -> float:
    """Mean of a column over the last fifth of a run's evaluations; NaN without a value there or for a failed run."""
    if run.record["status"] != "done" or column not in evals:
        return math.nan
    return float(evals[column].tail(math.ceil(len(evals) / 5)).mean())


def final_scores(runs: Sequence[Run]) -> np.ndarray:
    """Normalised final scores (n_runs,), not below 0; a failed run scores 0."""
    scores = []
    for run in runs:
        score = run.score(final_mean(run, run.evals, "return_mean"))
        scores.append(max(score, 0.0) if math.isfinite(score) else 0.0)
    return np.array(scores)


def time_to_target(agent: Sequence[Run], baseline: Sequence[Run], axis: str, target: int) -> TaskEvidence:
    """Cost to a target return, cut at the cost to which all runs that finished were followed.

    A run that missed the target or failed counts with that whole cost. Where nobody on either side reached the target,
    the runs say nothing about speed.
    """
    targets = agent[0].record["targets"]
    if not -len(targets) <= target < len(targets):
        return TaskEvidence(reason=f"the task has {len(targets)} targets, no index {target}")
    followed = [run.evals[axis].iloc[-1] for run in (*agent, *baseline) if run.record["status"] == "done"]
    if not followed:
        return TaskEvidence(reason="every run failed")
    limit = float(min(followed))
    if limit <= 0:
        return TaskEvidence(reason=f"a run has no {axis}")
    sides = []
    for runs in (agent, baseline):
        times = []
        for run in runs:
            evals = run.evals
            done = run.record["status"] == "done"
            hit = hitting_time(evals[axis], evals["return_mean"], targets[target]) if done else math.inf
            times.append(min(hit, limit))
        sides.append(np.array(times))
    if all((times >= limit).all() for times in sides):
        return TaskEvidence(reason=f"no run reached {targets[target]:g} within {limit:g} {axis}")
    # An agent on target at its first evaluation has spent something; a cost of 0 (no update yet) has no ratio.
    smallest = min(times[times > 0].min(initial=limit) for times in sides)
    own, other = (f"{(times < limit).sum()} of {len(times)}" for times in sides)
    note = f"{own} against {other} runs reached {targets[target]:g} within {limit:g} {axis}; the others count with that"
    if axis == "t_wall_s" and (why := why_times_differ([run.record for run in (*agent, *baseline)])):
        note += f"; {why}"
    agent_times, baseline_times = (np.maximum(times, smallest) for times in sides)
    return TaskEvidence(agent_times, baseline_times, note=note)


def roughness(agent: Sequence[Run], baseline: Sequence[Run], column: str) -> TaskEvidence:
    """A smoothness column of finished runs, where the agent's return is not worse than the baseline's."""
    behind = float(final_scores(baseline).mean() - final_scores(agent).mean())
    if behind > EQUAL_RETURN:
        return TaskEvidence(reason=f"the agent's score is {behind:.2f} lower: not an equal return")
    own, other = (np.array([final_mean(run, run.evals, column) for run in runs]) for runs in (agent, baseline))
    own, other = own[np.isfinite(own)], other[np.isfinite(other)]
    if not (len(own) and len(other) and (own > 0).all() and (other > 0).all()):
        return TaskEvidence(reason=f"no finished run with a positive {column} on both sides")
    return TaskEvidence(own, other)


def value_error(agent: Sequence[Run]) -> TaskEvidence:
    """Relative error of the learned value; a failed run counts as an error of 1, that of knowing nothing."""
    errors = np.array([final_mean(run, run.evals, "value_error_rel_l2") for run in agent])
    failed = np.array([run.record["status"] != "done" for run in agent])
    if np.isnan(errors[~failed]).any() or failed.all():
        return TaskEvidence(reason="no value error was measured")
    return TaskEvidence(agent=np.where(failed, 1.0, errors))


def return_kept(agent: Sequence[Run]) -> TaskEvidence:
    """Worst score over the evaluated control intervals over that at the training interval; a failed run keeps 0."""
    kept = []
    for run in agent:
        sweep = run.dt_sweep
        if run.record["status"] != "done":
            kept.append(0.0)
        elif sweep is None or not (sweep["dt_factor"] == 1).any():
            return TaskEvidence(reason="no control intervals were swept; name dt_factors in the suite")
        else:
            score = run.score(sweep["return_mean"])
            own = score[sweep["dt_factor"] == 1].iloc[0]
            kept.append(max(0.0, float(score.min() / own)) if own > 0 else 0.0)
    return TaskEvidence(agent=np.array(kept))
