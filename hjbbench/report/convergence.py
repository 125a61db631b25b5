"""How fast the agents converge over a whole suite: many targets at once, and curves over any cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hjbbench.metrics.convergence import hitting_time
from hjbbench.report.cells import Cell, TaskCells
from hjbbench.report.standings import SEED
from hjbbench.stats.bootstrap import Band, Interval, band_of_means
from hjbbench.stats.power import fit_log_times, minimum_detectable_ratio
from hjbbench.stats.survival import ecdf_area, runtime_ecdf

LEVELS = np.arange(1, 21) / 20
"""Normalised scores that count as targets together: 0.05, 0.10, ... 1, from next to random to the reference."""
MILESTONES = (0.1, 0.3, 1.0)
"""Shares of the budget at which the table reads the runtime distribution."""
N_RESAMPLES = 2000


@dataclass(frozen=True)
class Convergence:
    """One agent's runtime distribution: the share of all (task, run, level) reached within a share of the budget."""

    agent: str
    n_runs: int
    shares: np.ndarray
    """(points,): share of the budget, rising, from the suite's first evaluation to 1."""
    band: Band
    """Reached by then, with the 95 % band; runs are resampled within each task."""
    area: Interval
    """Area under the curve over the logarithm of the share, in [0, 1]."""

    def reached_by(self, share: float) -> Interval | None:
        """Share of the targets reached within a share of the budget; None before the first evaluation."""
        at = int(np.searchsorted(self.shares, share, side="right")) - 1
        return None if at < 0 else Interval(*(float(bound[at]) for bound in self.band))


@dataclass(frozen=True)
class Resolution:
    """What the runs at hand could show: the smallest speed-up on one task that a test would see."""

    n_runs: int
    """Runs of the compared agent with the fewest, on any task."""
    log_sd: float
    """Standard deviation of the logarithm of the time to the hardest target over the runs of an agent on a task."""
    ratio: float
    """Smallest speed-up shown with 80 % power by a one-sided test at 5 %; infinity where none is."""


def convergences(tasks: Sequence[TaskCells], agents: Iterable[str]) -> list[Convergence]:
    """The runtime distributions of agents that have runs on every task, by descending area."""
    first = min(task.steps[task.steps > 0][0] / task.budget_steps for task in tasks)
    shares = np.unique(np.concatenate([task.steps / task.budget_steps for task in tasks]))
    shares = shares[(shares >= first) & (shares <= 1)]
    rows = [_convergence(agent, tasks, shares, float(first)) for agent in agents]
    return sorted(rows, key=lambda row: -row.area.estimate)


def _convergence(agent: str, tasks: Sequence[TaskCells], shares: np.ndarray, first: float) -> Convergence:
    times = {task.name: level_times(task.agents[agent], task.steps) / task.budget_steps for task in tasks}
    rng = np.random.default_rng(SEED)
    area = (
        ecdf_area(times, first, 1.0, rng=rng)
        if first < 1
        else Interval(float(runtime_ecdf(times, [1.0])[0]), -math.inf, math.inf)  # a single evaluation spans no area
    )
    return Convergence(agent, sum(map(len, times.values())), shares, _ecdf_band(times, shares), area)


def level_times(cell: Cell, steps: np.ndarray) -> np.ndarray:
    """Steps (runs, levels) to every level of ``LEVELS``, reached and held; infinity where missed or the run failed."""
    return np.array(
        [
            [hitting_time(steps, curve, level) if done else math.inf for level in LEVELS]
            for curve, done in zip(cell.scores, cell.finished, strict=True)
        ]
    )


def _ecdf_band(times: Mapping[str, np.ndarray], shares: np.ndarray) -> Band:
    """``runtime_ecdf`` with its pointwise percentile band: whole runs are resampled within each task."""
    reached = [(runs[:, :, None] <= shares).mean(axis=1) for runs in times.values()]
    _, low, high = band_of_means(reached, np.random.default_rng(SEED), N_RESAMPLES, 0.95)
    return runtime_ecdf(times, shares), low, high


def over_cost(cell: Cell, axis: str, n_points: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Scores of an agent's runs at common costs: each run's last evaluation counts until its next.

    Args:
        axis: "n_updates" or "t_wall_s".

    Returns:
        Costs (points,) from where every run has been evaluated to the largest cost of any run, and scores
        (runs, points). A single point where the cost never grows.
    """
    costs = cell.costs[axis]
    grid = np.unique(np.linspace(costs[:, 0].max(), costs.max(), n_points))
    last = np.array([np.searchsorted(own, grid, side="right") - 1 for own in costs])
    return grid, np.take_along_axis(cell.scores, last, axis=1)


def resolution(tasks: Sequence[TaskCells], agents: Iterable[str]) -> Resolution | None:
    """The smallest speed-up that the runs of these agents could show, from the measured spread of times to the target.

    The spread is that of the agents and tasks where at least three runs reached the hardest target, of which the others
    say that they take longer than the budget; None where there is none, or all of them took the same time.
    """
    compared = set(agents)
    cells = [
        (cell, task.budget_steps)
        for task in tasks
        for agent, cell in task.agents.items()
        if agent in compared and len(cell.hit_steps)
    ]
    reached = [(cell.hit_steps, budget) for cell, budget in cells if np.isfinite(cell.hit_steps).sum() >= 3]
    if all(len(np.unique(times[np.isfinite(times)])) == 1 for times, _ in reached):
        return None
    medians, log_sd = fit_log_times(reached)
    n_runs = min(len(cell.finished) for cell, _ in cells)
    budget_ratio = float(np.median([budget / median for (_, budget), median in zip(reached, medians, strict=True)]))
    rng = np.random.default_rng(SEED)
    return Resolution(n_runs, log_sd, minimum_detectable_ratio(n_runs, log_sd, rng=rng, budget_ratio=budget_ratio))
