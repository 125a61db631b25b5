"""Time to a target when some runs never reach it.

A time is a cost in any one unit (steps, seconds, updates), infinity for a run that missed the target. A run's budget is
the cost it was followed to; a time beyond it counts as missed. Failed runs stay in every denominator.

Sources: expected running time, simulated restarts and runtime distributions from Hansen et al., "COCO: Performance
Assessment" (arXiv:1605.03560); Kaplan-Meier curve, restricted mean survival time (RMST) and log-rank test from survival
analysis, as in Royston and Parmar, BMC Medical Research Methodology 13:152 (2013).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from hjbbench.errors import UserError
from hjbbench.stats.bootstrap import Interval, named_runs, stratified_interval
from hjbbench.stats.ratio import ratio_interval


def success_rate(times: ArrayLike, budget: ArrayLike) -> float:
    """Share of runs that reached the target within their budget.

    Args:
        times: cost (n_runs,) to the target, infinity if missed.
        budget: cost every run was followed to, one number or one per run.

    Raises:
        UserError: no run, NaN or negative times, a budget that is not positive and finite.
    """
    times, budgets = _followed(times, budget)
    return float((times <= budgets).mean())


def ert(times: ArrayLike, budget: ArrayLike) -> float:
    """Expected running time of an agent that is restarted until it succeeds, infinity if no run did.

    All cost spent, by failed runs too, over the number of successes. Pessimistic where the budget, not the agent,
    ended the failed runs and fewer than half succeeded: give the RMST beside it. Arguments and errors are those of
    ``success_rate``.
    """
    times, budgets = _followed(times, budget)
    hit = times <= budgets
    return float(np.where(hit, times, budgets).sum() / hit.sum()) if hit.any() else np.inf


def simulated_restarts(
    times: ArrayLike, budget: ArrayLike, *, rng: np.random.Generator, n_samples: int = 1000
) -> np.ndarray:
    """Costs (n_samples,) to the first success when runs are drawn with replacement until one succeeds.

    Sample s starts with run s mod n_runs, which lowers the variance if ``n_samples`` is a multiple of the number of
    runs. Its mean estimates the ERT; all infinite if no run succeeded. Arguments and errors are those of
    ``success_rate``.
    """
    times, budgets = _followed(times, budget)
    hit = times <= budgets
    if not hit.any():
        return np.full(n_samples, np.inf)
    spent = np.where(hit, times, budgets)
    drawn = np.arange(n_samples) % len(times)
    total = spent[drawn]
    pending = np.flatnonzero(~hit[drawn])
    while pending.size:
        drawn = rng.integers(len(times), size=pending.size)
        total[pending] += spent[drawn]
        pending = pending[~hit[drawn]]
    return total


def kaplan_meier(times: ArrayLike, budget: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Costs and the product-limit share of runs still short of the target after each: a falling step function.

    With one budget for all this is 1 minus the plain success share at every cost. Arguments and errors are those of
    ``success_rate``.
    """
    from scipy.stats import ecdf

    survival = ecdf(_censored(*_followed(times, budget))).sf
    return survival.quantiles, survival.probabilities


def logrank(times_a: ArrayLike, times_b: ArrayLike, budget: ArrayLike) -> float:
    """Two-sided p-value of the log-rank test that two agents' times to a target have one distribution.

    1 where the runs say nothing, as when every one missed the target. Arguments and errors are those of
    ``success_rate``; the budget holds for both agents.
    """
    from scipy.stats import logrank as scipy_logrank

    with np.errstate(invalid="ignore", divide="ignore"):
        p = scipy_logrank(_censored(*_followed(times_a, budget)), _censored(*_followed(times_b, budget))).pvalue
    return 1.0 if np.isnan(p) else float(p)


def rmst(times: ArrayLike, budget: float) -> float:
    """Restricted mean survival time: the mean cost up to the target or the budget, whichever comes first.

    The area under the Kaplan-Meier curve up to ``budget``, a cost to which every run must have been followed. Finite at
    any success rate; the budget if no run succeeded. Errors are those of ``success_rate``.
    """
    times, budgets = _followed(times, budget)
    return float(np.minimum(times, budgets).mean())


def rmst_interval(
    times: ArrayLike,
    budget: float,
    *,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
) -> Interval:
    """RMST of one agent on one task with its bootstrap interval over runs; unbounded for a single run.

    Arguments and errors are those of ``rmst`` and ``stratified_interval``.
    """
    capped = {"the task": np.minimum(*_followed(times, budget))}
    return stratified_interval(capped, np.mean, rng=rng, n_resamples=n_resamples, confidence=confidence)


def rmst_ratio(
    baseline: Mapping[str, ArrayLike],
    agent: Mapping[str, ArrayLike],
    budget: Mapping[str, float],
    *,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
) -> Interval:
    """How many times faster the agent is: RMST of the baseline over RMST of the agent, geometric mean over tasks.

    The runs of either side are resampled within each task, independently of each other and of the other tasks; the
    tasks are fixed and weigh alike, however many runs they have. A one-sided 95 % bound is a bound of the two-sided
    interval at confidence 0.9. What a baseline would have spent beyond its budget is not counted, so a baseline that
    misses makes the agent look less fast than it is; where both miss everything the ratio is 1 by construction.

    Share of 1000 simulated experiments (5000 resamples each, 1000 for 10 and 20 runs; standard error 0.01 or less)
    whose lower one-sided 95 % bound lay above the true ratio, 0.05 being right; times log-normal, medians 1 and 2,
    budget 3, for runs per agent and task of

        tasks, sd of log time    3     5     10    20
        1, 0.5                   0.06  0.07  0.06  0.06
        4, 0.5                   0.02  0.03  0.05  0.05
        1, 1.0                   0.09  0.07  0.05  0.05
        4, 1.0                   0.03  0.04  0.05  0.06

    Args:
        baseline: times (n_runs,) of the baseline on every task, by its name.
        agent: times of the agent on the same tasks.
        budget: cost to which all runs of a task were followed.
        rng, n_resamples, confidence: as in ``stratified_interval``.

    Raises:
        UserError: unlike tasks, or a time of 0 (a ratio needs a cost; see also ``success_rate``).
    """
    if not baseline.keys() == agent.keys() == budget.keys():
        raise UserError(f"tasks {sorted(baseline)}, {sorted(agent)} and budgets {sorted(budget)} must be the same")
    sides = [
        {
            task: np.minimum(*_followed(runs, budget[task]))
            for task, runs in named_runs(side, "times", finite=False).items()
        }
        for side in (baseline, agent)
    ]
    if free := [task for side in sides for task, times in side.items() if not times.min() > 0]:
        raise UserError(f"times of {free[0]!r} hold 0: a ratio needs a cost")
    return ratio_interval(*sides, rng=rng, n_resamples=n_resamples, confidence=confidence)


def runtime_ecdf(times: Mapping[str, ArrayLike], costs: ArrayLike) -> np.ndarray:
    """Share of all (task, run, target) triples reached within each cost; a missed target stays in the denominator.

    Args:
        times: cost (n_runs, n_targets) to every target of every task, infinity if missed.
        costs: costs (points,) to read the curve at, in units common to all tasks.

    Returns:
        Share (points,) for every cost, rising towards the success rate over all targets.

    Raises:
        UserError: tasks with unlike numbers of targets, NaN or negative times, or costs that are not finite.
    """
    grid = np.asarray(costs, dtype=float)
    if not np.isfinite(grid).all():
        raise UserError("costs hold NaN or infinity; the curve is read at finite costs")
    pooled = np.sort(_targets(times), axis=None)
    return np.searchsorted(pooled, grid, side="right") / pooled.size


def ecdf_area(
    times: Mapping[str, ArrayLike],
    first_cost: float,
    budget: float,
    *,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
) -> Interval:
    """Anytime score in [0, 1]: area under ``runtime_ecdf`` over the logarithm of cost, from first_cost to budget.

    Exact, for a target reached at cost t adds log(budget / t) / log(budget / first_cost), at most 1 and at least 0.
    Runs are resampled within each task, their targets kept together.

    Args:
        times: as in ``runtime_ecdf``.
        first_cost: where the area begins, above 0; the cost of the first evaluation.
        budget: where it ends, above first_cost.
        rng, n_resamples, confidence: as in ``stratified_interval``.

    Raises:
        UserError: bounds out of order; see also ``runtime_ecdf``.
    """
    if not 0 < first_cost < budget < np.inf:
        raise UserError(f"first_cost {first_cost}, budget {budget}: 0 < first_cost < budget is needed")
    _targets(times)
    shares = {
        task: (np.log(budget / np.clip(runs, first_cost, budget)) / np.log(budget / first_cost)).mean(axis=1)
        for task, runs in times.items()
    }
    return stratified_interval(shares, np.mean, rng=rng, n_resamples=n_resamples, confidence=confidence)


def _followed(times: ArrayLike, budget: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Checked times (n_runs,) and the budget of every run (n_runs,)."""
    times, budgets = np.asarray(times, dtype=float), np.asarray(budget, dtype=float)
    if times.ndim != 1 or times.size == 0 or np.isnan(times).any() or (times < 0).any():
        raise UserError(f"times {times.tolist()}: one cost >= 0 per run, infinity for a miss, is needed")
    if budgets.shape not in ((), times.shape) or not (np.isfinite(budgets) & (budgets > 0)).all():
        raise UserError(f"budget {budgets.tolist()}: one positive finite cost, or one per run, is needed")
    return times, np.broadcast_to(budgets, times.shape)


def _censored(times: np.ndarray, budgets: np.ndarray):
    from scipy.stats import CensoredData

    return CensoredData.right_censored(np.minimum(times, budgets), times > budgets)


def _targets(times: Mapping[str, ArrayLike]) -> np.ndarray:
    """All runs' times as one checked array (n_total_runs, n_targets)."""
    arrays = [np.asarray(runs, dtype=float) for runs in times.values()]
    shapes = {task: np.shape(runs) for task, runs in times.items()}
    if not arrays or any(a.ndim != 2 or a.size == 0 or a.shape[1] != arrays[0].shape[1] for a in arrays):
        raise UserError(f"times {shapes}: tables (n_runs, n_targets) with one number of targets are needed")
    pooled = np.concatenate(arrays)
    if np.isnan(pooled).any() or (pooled < 0).any():
        raise UserError("times hold NaN or negative costs; a missed target is infinity")
    return pooled
