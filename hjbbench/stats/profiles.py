"""How close every agent comes to the best one, over tasks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from hjbbench.errors import UserError
from hjbbench.stats.bootstrap import named_runs
from hjbbench.stats.comparison import same_tasks

SLOWEST_RATIO = 4.0
"""Times the best agent's time beyond which AlgoPerf's profiles count a workload as not solved (arXiv:2306.07179)."""


def time_ratio_profile(times: Mapping[str, Mapping[str, ArrayLike]], ratios: ArrayLike) -> dict[str, np.ndarray]:
    """Share of tasks each agent solves within a multiple of the best agent's time, for every multiple (points,).

    An agent's time on a task is its median over runs, infinity if most miss (Dolan and More 2002; AlgoPerf,
    arXiv:2306.07179). Relative to the best agent at hand: another agent in the comparison changes every curve, so lead
    with ``runtime_ecdf``.

    Args:
        times: times (n_runs,) of every agent on every task, infinity for a miss.
        ratios: multiples (points,) of the best time, from 1.

    Raises:
        UserError: no agent, unlike tasks, NaN, or times that are not positive.
    """
    grid = np.asarray(ratios, dtype=float)
    return {agent: (r[:, None] <= grid).mean(axis=0) for agent, r in _time_ratios(times).items()}


def profile_score(times: Mapping[str, Mapping[str, ArrayLike]]) -> dict[str, float]:
    """Mean of every agent's ``time_ratio_profile`` from 1 to ``SLOWEST_RATIO``: 1 for the fastest agent on every task.

    Exact: a task solved at ratio r adds (SLOWEST_RATIO - r) / (SLOWEST_RATIO - 1), at least 0.
    """
    return {
        agent: float(np.maximum(SLOWEST_RATIO - r, 0.0).mean() / (SLOWEST_RATIO - 1))
        for agent, r in _time_ratios(times).items()
    }


def _time_ratios(times: Mapping[str, Mapping[str, ArrayLike]]) -> dict[str, np.ndarray]:
    """Median time of every agent over the best median, (n_tasks,); infinity where nobody solves the task."""
    runs = {agent: named_runs(tasks, f"times of {agent!r}", finite=False) for agent, tasks in times.items()}
    tasks = same_tasks(runs)
    medians = np.array([[np.median(runs[agent][task]) for task in tasks] for agent in runs])
    if (medians <= 0).any():
        raise UserError("times with a median of 0 or less: a ratio needs a positive cost")
    best = medians.min(axis=0)
    ratios = np.where(np.isfinite(best), medians / np.where(np.isfinite(best), best, 1.0), np.inf)
    return dict(zip(runs, ratios, strict=True))
