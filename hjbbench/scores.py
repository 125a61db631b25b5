"""Runs of one task -> their returns and scores at its evaluations: the one place that says what a failed run scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hjbbench.clock import evaluation_points
from hjbbench.errors import UserError
from hjbbench.metrics.convergence import final_score
from hjbbench.store import Run


def evaluation_steps(runs: Sequence[Run]) -> np.ndarray:
    """(points,): decisions at every evaluation of a task, of which ``runs`` are some; those no run got to are planned.

    Where a run does not say how many evaluations were planned, one at the end of the budget stands for those.
    """
    steps = max((run.evals["n_steps"].to_numpy() for run in runs), key=len)
    record = runs[0].record
    budget, n_evals = record["budget"]["n_steps"], (record.get("evaluation") or {}).get("n_evals")
    made = steps[-1] if len(steps) else 0
    if made >= budget:
        return steps
    planned = evaluation_points(budget, n_evals) if n_evals else (budget,)
    return np.append(steps, [point for point in planned if point > made])


def mean_returns(runs: Sequence[Run], steps: np.ndarray) -> np.ndarray:
    """(runs, points): mean return at every evaluation of the task, as of ``evaluation_steps``.

    A failed run has the random return where it was not evaluated. Raises UserError for a return that is not finite.
    """
    returns = np.empty((len(runs), len(steps)))
    for row, run in zip(returns, runs, strict=True):
        made = run.evals["return_mean"].to_numpy()
        if not np.isfinite(made).all():
            raise UserError(f"{run.path / 'evals.csv'}: column return_mean must hold finite numbers only")
        row[:] = run.record["reference"]["random"]
        row[: len(made)] = made
    return returns


def scores(runs: Sequence[Run], steps: np.ndarray) -> np.ndarray:
    """(runs, points): normalised score of every evaluation, not below 0: no return is worse than knowing nothing."""
    return np.array([run.score(row).clip(0.0) for run, row in zip(runs, mean_returns(runs, steps), strict=True)])


def final_scores(runs: Sequence[Run], steps: np.ndarray) -> np.ndarray:
    """(runs,): mean score over the last fifth of the task's evaluations."""
    return np.array([final_score(curve) for curve in scores(runs, steps)])
