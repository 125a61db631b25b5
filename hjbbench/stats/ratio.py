"""How many times one agent's cost is another's: a ratio of means over runs, pooled geometrically over tasks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from hjbbench.errors import UserError
from hjbbench.stats.bootstrap import Interval, named_runs, percentile_interval, resample


def mean_ratio(
    numerator: Mapping[str, ArrayLike],
    denominator: Mapping[str, ArrayLike],
    *,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
) -> tuple[float, np.ndarray]:
    """Ratio of the mean over runs, geometric mean over tasks, and the same of resampled runs (n_resamples,).

    The runs of either side are resampled within each task, independently of each other and of the other tasks; the
    tasks are fixed and weigh alike, however many runs they have.

    Raises:
        UserError: unlike tasks, a task without runs, a value that is negative or not finite, or none above 0.
    """
    if numerator.keys() != denominator.keys():
        raise UserError(f"tasks {sorted(numerator)} and {sorted(denominator)} must be the same")
    sides = [named_runs(side, "values") for side in (numerator, denominator)]
    for side in sides:
        for task, values in side.items():
            if values.min() < 0 or not values.any():
                raise UserError(f"values of {task!r} hold {values.min():g}: a ratio needs some above 0 and none below")
    (top, top_samples), (bottom, bottom_samples) = (_mean_log(side, rng, n_resamples) for side in sides)
    return float(np.exp(top - bottom)), np.exp(top_samples - bottom_samples)


def ratio_interval(
    numerator: Mapping[str, ArrayLike],
    denominator: Mapping[str, ArrayLike],
    *,
    rng: np.random.Generator,
    n_resamples: int = 5000,
    confidence: float = 0.95,
) -> Interval:
    """``mean_ratio`` with its expanded percentile interval; raises the same errors."""
    estimate, samples = mean_ratio(numerator, denominator, rng=rng, n_resamples=n_resamples)
    groups = [np.asarray(runs) for side in (numerator, denominator) for runs in side.values()]
    return percentile_interval(estimate, samples, groups, confidence)


def _mean_log(side: Mapping[str, np.ndarray], rng: np.random.Generator, n_resamples: int) -> tuple[float, np.ndarray]:
    nothing = np.finfo(float).tiny  # of a resample of runs that are all 0
    resampled = [np.log(np.maximum(resample(runs, rng, n_resamples).mean(axis=-1), nothing)) for runs in side.values()]
    return float(np.mean([np.log(runs.mean()) for runs in side.values()])), np.mean(resampled, axis=0)
