"""What stored runs say about a claim: one positive number per run and task, on both sides of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hjbbench.metrics.convergence import hitting_time
from hjbbench.scores import evaluation_steps, final_scores
from hjbbench.speed import why_times_differ
from hjbbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

EQUAL_RETURN = 0.05
"""Returns count as equal when they differ by no more than this share of the way from random to reference, and one of
them lies further from random than this: where nobody has learned, the returns are equal and say nothing."""


@dataclass(frozen=True)
class TaskEvidence:
    """One task's measurements: (n_runs,) for the agent and the baseline, or why there are none."""

    agent: np.ndarray = field(default_factory=lambda: np.empty(0))
    baseline: np.ndarray = field(default_factory=lambda: np.empty(0))
    reason: str | None = None
    note: str = ""
    """What the numbers stand for."""
    caveat: str = ""
    """Why they do not quite compare."""
    says_nothing: bool = False
    """Whether no run on either side got anywhere: a draw beside other tasks, nothing where all are like that."""


def final_mean(run: Run, evals: pd.DataFrame, column: str) -> float:
    """Mean of a column over the last fifth of a run's evaluations; NaN without a value there or for a failed run."""
    if run.record["status"] != "done" or column not in evals:
        return math.nan
    return float(evals[column].tail(math.ceil(len(evals) / 5)).mean())


def why_unequal(scores: np.ndarray, others: np.ndarray) -> str:
    """Why one agent's return on a task does not count as equal to another's; empty where it does.

    Arguments are the final scores of their runs (n_runs,); the means are compared.
    """
    if max(scores.mean(), others.mean()) <= EQUAL_RETURN:
        return f"mean score and the other's are at most {EQUAL_RETURN}: nothing learned"
    gap = scores.mean() - others.mean()
    if abs(gap) > EQUAL_RETURN:
        return f"mean score is {abs(gap):.3f} {'higher' if gap > 0 else 'lower'}: not an equal return"
    return ""


def time_to_target(agent: Sequence[Run], baseline: Sequence[Run], axis: str, target: int) -> TaskEvidence:
    """Cost to a target return, cut at the cost to which every baseline run that finished was followed.

    A run that missed the target within its budget of decisions, or failed, counts with that whole cost. Wall-clock
    costs of a budget differ, and so the burden of proof is the agent's: were all cut where its own, cheaper runs end,
    none of them could be slower than a baseline that needs more decisions than they were given.
    """
    targets = agent[0].record["targets"]
    if not -len(targets) <= target < len(targets):
        return TaskEvidence(reason=f"the task has {len(targets)} targets, no index {target}")
    followed = [
        [run.evals[axis].iloc[-1] for run in runs if run.record["status"] == "done"] for runs in (baseline, agent)
    ]
    if not any(followed):
        return TaskEvidence(reason="every run failed")
    limit = float(min(followed[0] or followed[1]))
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
    within = f"{targets[target]:g} within {limit:g} {axis}"
    if all((times >= limit).all() for times in sides):
        return TaskEvidence(sides[0], sides[1], note=f"no run reached {within}: a draw", says_nothing=True)
    # An agent on target at its first evaluation has spent something; a cost of 0 (no update yet) has no ratio.
    smallest = min(times[times > 0].min(initial=limit) for times in sides)
    own, other = (f"{(times < limit).sum()} of {len(times)}" for times in sides)
    note = f"{own} against {other} runs reached {within}; the others count with that"
    caveat = why_times_differ([run.record for run in (*agent, *baseline)]) if axis == "t_wall_s" else ""
    agent_times, baseline_times = (np.maximum(times, smallest) for times in sides)
    return TaskEvidence(agent_times, baseline_times, note=note, caveat=caveat)


def roughness(agent: Sequence[Run], baseline: Sequence[Run], column: str) -> TaskEvidence:
    """A smoothness column of finished runs, where the returns are equal: who has learned nothing is rough, or still."""
    steps = evaluation_steps([*agent, *baseline])
    scores, others = final_scores(agent, steps), final_scores(baseline, steps)
    if why := why_unequal(scores, others):
        return TaskEvidence(reason=f"the agent's {why}")
    own, other = (np.array([final_mean(run, run.evals, column) for run in runs]) for runs in (agent, baseline))
    own, other = own[np.isfinite(own)], other[np.isfinite(other)]
    if not (own.sum() > 0 and other.sum() > 0):
        return TaskEvidence(reason=f"no finished run with a positive {column} on both sides")
    return TaskEvidence(own, other, note=f"mean scores are {abs(scores.mean() - others.mean()):.3f} apart")


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
