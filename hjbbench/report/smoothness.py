"""Smoothness judged where it counts: between agents whose return is equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from hjbbench.evidence import why_unequal
from hjbbench.report.cells import Cell, TaskCells
from hjbbench.report.standings import SEED, Leaderboard, Standing, mean_interval
from hjbbench.stats.bootstrap import Interval
from hjbbench.stats.ratio import ratio_interval

MEASURE = "action_rate_rms_per_s"
UNITS = {
    "action_rate_rms_per_s": "Action rate, RMS (1/s)",
    "action_tv_per_s": "Total variation (1/s)",
    "action_jerk_rms_per_s2": "Action jerk, RMS (1/s²)",
    "action_mean_freq_hz": "Mean frequency (Hz)",
    "action_highfreq_share": "Power above 2 Hz",
}
"""Columns of the smoothness tables with their headings. sm_caps is left out: it depends on the control interval."""


@dataclass(frozen=True)
class AgentSmoothness:
    """One agent on one task: every measure, and its action rate against the task's best agent's."""

    standing: Standing
    measures: dict[str, Interval | None]
    """Means over finished runs, by column of ``UNITS``; None where no run has a value."""
    why_unequal: str
    """Why its return does not count as equal to the best agent's; empty where it does."""
    ratio: Interval | None
    """The best agent's action rate over this one's: above 1 this one is the smoother. None where the returns are not
    equal, without a positive action rate on both sides, and for the best agent itself."""


@dataclass(frozen=True)
class Pair:
    """Two agents over the tasks on which both have an equal return."""

    smoother: str
    rougher: str
    ratio: Interval
    """Action rate of the rougher over that of the smoother, geometric mean over tasks."""
    n_tasks: int
    n_runs: tuple[int, int]
    """Finished runs that count, of the smoother and of the rougher."""

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out 1."""
        return self.ratio.low > 1


def interval_of_mean(cell: Cell, column: str) -> Interval | None:
    """Mean of a column's last fifth over the finished runs that have a value, with its interval."""
    values = _finite(cell, column)
    return mean_interval(values) if len(values) else None


def against_best(task: TaskCells, rows: Sequence[Standing]) -> list[AgentSmoothness]:
    """Every agent of a task, best return first, against the first of them."""
    best, moving = rows[0].agent, _moving(task)
    return [
        AgentSmoothness(
            standing=row,
            measures={column: interval_of_mean(task.agents[row.agent], column) for column in UNITS},
            why_unequal=_why_unequal(task, row.agent, best),
            ratio=_ratio([task], best, row.agent)
            if row.agent != best and {best, row.agent} <= moving and not _why_unequal(task, row.agent, best)
            else None,
        )
        for row in rows
    ]


def pairs(board: Leaderboard) -> list[Pair]:
    """All pairs of agents that reach an equal return on some task, decided ones first, then by ratio."""
    shared: dict[tuple[str, str], list[TaskCells]] = {}
    for task in board.tasks:
        for pair in combinations(sorted(_moving(task)), 2):
            if not _why_unequal(task, *pair):
                shared.setdefault(pair, []).append(task)
    found = [_pair(tasks, *sorted(names, key=partial(_log_rate, tasks))) for names, tasks in shared.items()]
    return sorted(found, key=lambda pair: (not pair.decided, -pair.ratio.estimate, pair.smoother, pair.rougher))


def _why_unequal(task: TaskCells, agent: str, other: str) -> str:
    return why_unequal(task.agents[agent].final_scores, task.agents[other].final_scores)


def _moving(task: TaskCells) -> set[str]:
    """Agents that have a ratio: a policy that never moves has an action rate of 0 and none."""
    rates = {agent: _finite(cell, MEASURE) for agent, cell in task.agents.items()}
    return {agent for agent, values in rates.items() if len(values) and (values > 0).all()}


def _pair(tasks: Sequence[TaskCells], smoother: str, rougher: str) -> Pair:
    n_runs = {agent: sum(len(_finite(task.agents[agent], MEASURE)) for task in tasks) for agent in (smoother, rougher)}
    return Pair(smoother, rougher, _ratio(tasks, rougher, smoother), len(tasks), (n_runs[smoother], n_runs[rougher]))


def _ratio(tasks: Sequence[TaskCells], top: str, bottom: str) -> Interval:
    """Action rate of ``top`` over that of ``bottom``; runs of either are resampled within each task."""
    sides = [{task.name: _finite(task.agents[agent], MEASURE) for task in tasks} for agent in (top, bottom)]
    return ratio_interval(*sides, rng=np.random.default_rng(SEED))


def _log_rate(tasks: Sequence[TaskCells], agent: str) -> float:
    """Mean over tasks of the logarithm of the mean action rate, as in ``_ratio``."""
    return float(np.mean([np.log(_finite(task.agents[agent], MEASURE).mean()) for task in tasks]))


def _finite(cell: Cell, column: str) -> np.ndarray:
    values = cell.final_column(column)
    return values[np.isfinite(values)]
