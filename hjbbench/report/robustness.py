"""What is left of an agent's score when its trained policy acts at other control intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hjbbench.evidence import return_kept
from hjbbench.report.standings import Standing, mean_interval
from hjbbench.stats.bootstrap import Interval
from hjbbench.store import Run


@dataclass(frozen=True)
class Sweep:
    """One agent on one task at several multiples of the task's control interval."""

    standing: Standing
    scores: dict[float, Interval]
    """Mean score by multiple; a failed run scores 0 at each."""
    kept: Interval
    """Mean over runs of the worst score over that at the task's own interval."""


def sweeps(runs: Sequence[Run], rows: Sequence[Standing]) -> list[Sweep]:
    """The agents of one task whose finished runs were all swept over the same intervals, in the order of ``rows``."""
    found = []
    for row in rows:
        own = [run for run in runs if run.record["agent"] == row.agent]
        scores, kept = _scores(own), return_kept(own)
        if scores and kept.reason is None:
            found.append(
                Sweep(row, {dt: mean_interval(values) for dt, values in scores.items()}, mean_interval(kept.agent))
            )
    return found


def _scores(runs: Sequence[Run]) -> dict[float, np.ndarray]:
    """Scores (runs,) by multiple of dt; empty where a finished run lacks one that another has."""
    swept = {}
    for index, run in enumerate(runs):
        sweep = run.dt_sweep
        if run.record["status"] == "done" and sweep is not None:
            score = run.score(sweep["return_mean"])
            swept[index] = dict(zip(sweep["dt_factor"], score.clip(lower=0.0), strict=True))
    factors = {tuple(sorted(scores)) for scores in swept.values()}
    if len(factors) != 1 or len(swept) < sum(run.record["status"] == "done" for run in runs):
        return {}
    return {
        factor: np.array([swept[index][factor] if index in swept else 0.0 for index in range(len(runs))])
        for factor in factors.pop()
    }
