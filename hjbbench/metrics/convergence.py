"""How fast and how well one run converged, read off its evaluation curve."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from hjbbench.errors import UserError


def _curve(costs: ArrayLike, values: ArrayLike, name: str) -> tuple[np.ndarray, np.ndarray]:
    costs, values = np.asarray(costs, dtype=float), np.asarray(values, dtype=float)
    if costs.ndim != 1 or costs.shape != values.shape or costs.size == 0:
        raise UserError(
            f"costs {costs.shape}, {name} {values.shape}: one value per evaluation, at least one, is needed"
        )
    if not (np.isfinite(costs).all() and np.isfinite(values).all()):
        raise UserError(f"costs or {name} hold NaN or infinity; every evaluation needs a finite number")
    if (np.diff(costs) < 0).any():
        raise UserError("costs fall along the curve; evaluations must stand in the order they were made")
    return costs, values


def _hit_index(returns: np.ndarray, target: float, window: int, tolerance: float) -> int | None:
    if window < 1:
        raise UserError(f"window {window}: a whole number of evaluations, at least 1, is needed")
    if not (math.isfinite(target) and tolerance >= 0):
        raise UserError(f"target {target}, tolerance {tolerance}: a finite target and a tolerance >= 0 are needed")
    if len(returns) < window:
        return None
    # The mean of the surplus, not of the returns: three returns of exactly 0.7 average to less than 0.7 in floats.
    surplus = np.lib.stride_tricks.sliding_window_view(returns - target, window)
    held = (surplus.mean(axis=1) >= 0) & (surplus.min(axis=1) >= -tolerance)
    return int(held.argmax()) if held.any() else None


def hitting_time(costs: ArrayLike, returns: ArrayLike, target: float, window: int = 3, tolerance: float = 0.0) -> float:
    """Cost at which a run reached a target return and held it.

    A first crossing would reward luck: a policy that stays below the target crosses it sooner or later on noisy
    evaluations. The crossing counts once ``window`` evaluations in a row average at least ``target`` and none of them
    lies more than ``tolerance`` below it. The answer is the cost of the window's first evaluation, so it is resolved
    no finer than the evaluation cadence: the true time lies between the evaluation before and this one.

    Args:
        costs: cost of every evaluation, never falling, in any one unit (steps, seconds, updates).
        returns: mean return of every evaluation.
        target: return that counts as converged.
        window: evaluations that must hold the target.
        tolerance: how far a single evaluation of the window may fall below the target, in units of return.

    Returns:
        The cost, or infinity for a run that did not hold the target within its budget (a window cut by the budget
        holds nothing).

    Raises:
        UserError: arrays of unlike length, not finite or out of order; a window below 1; a negative tolerance.
    """
    costs, returns = _curve(costs, returns, "returns")
    index = _hit_index(returns, target, window, tolerance)
    return math.inf if index is None else float(costs[index])


def regressed_after_hit(
    costs: ArrayLike, returns: ArrayLike, target: float, window: int = 3, tolerance: float = 0.0
) -> float:
    """Share of the evaluations after the hitting time that lie below the target again.

    Arguments and errors are those of ``hitting_time``. 0 is a policy that stayed converged; NaN is a run that never
    hit the target.
    """
    costs, returns = _curve(costs, returns, "returns")
    index = _hit_index(returns, target, window, tolerance)
    if index is None:
        return math.nan
    later = returns[index + 1 :]
    return float((later < target).mean()) if later.size else 0.0


def area_under_curve(costs: ArrayLike, scores: ArrayLike) -> float:
    """Mean score over the cost spent: the area under the learning curve divided by its width.

    The area is the trapezoid rule's from the first evaluation to the last; nothing is assumed before the first. A curve
    without width (one evaluation, or a cost that never grew) gives the plain mean of its scores.

    Args:
        costs: cost of every evaluation, never falling.
        scores: normalised score of every evaluation (0 random, 1 reference).

    Raises:
        UserError: arrays of unlike length, not finite or out of order.
    """
    costs, scores = _curve(costs, scores, "scores")
    width = costs[-1] - costs[0]
    return float(np.trapezoid(scores, costs) / width if width > 0 else scores.mean())


def final_score(scores: ArrayLike) -> float:
    """Mean of the last fifth of a run's evaluations (rounded up, so at least one).

    Raises:
        UserError: no evaluation, or one that is not finite.
    """
    _, scores = _curve(np.arange(np.size(scores)), scores, "scores")
    return float(scores[-math.ceil(scores.size / 5) :].mean())
