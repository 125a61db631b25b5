"""Cells -> standings: every agent's figures over all tasks and on each, and the order of the agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hjbbench.report.cells import Cell, TaskCells
from hjbbench.stats.bootstrap import Interval, iqm, stratified_interval
from hjbbench.stats.comparison import tie_groups
from hjbbench.stats.survival import rmst_interval

SEED = 0
"""Any fixed number: the same results give the same report, and all intervals come from the same draws."""


@dataclass(frozen=True)
class Standing:
    """One agent's figures over some tasks, or over one."""

    agent: str
    rank: int | None
    """Place among the agents, shared by those that cannot be told apart; None where no comparison is fair."""
    shared: bool
    """Whether another agent has the same rank."""
    n_tasks: int
    n_runs: int
    n_failed: int
    score: Interval
    """IQM of the runs' final scores."""
    anytime: Interval
    """IQM of the areas under the runs' score curves."""
    n_reached: int
    """Runs that reached the hardest target of their task."""
    n_targeted: int
    """Runs on tasks that have a target."""
    action_rate_rms_per_s: Interval | None
    """IQM over finished runs, None without any."""
    wall_s_per_1000_steps: Interval | None
    """Mean over runs that took a step, None without any."""
    median_steps: float | None
    """Median steps to the hardest target, infinity where most runs missed it; of one task only."""
    rmst_steps: Interval | None
    """Mean steps to the hardest target or the end of the budget; of one task only."""


@dataclass(frozen=True)
class Leaderboard:
    """Everything the tables show; ``tasks`` and ``per_task`` are in the order of the tasks' names."""

    suite: str
    tasks: list[TaskCells]
    ranked: list[Standing]
    """Agents with runs on every task, best first."""
    partial: list[Standing]
    """Agents that lack a task: their aggregate is of other tasks and compares with nothing."""
    per_task: dict[str, list[Standing]]


def rank(suite: str, tasks: Sequence[TaskCells]) -> Leaderboard:
    """Order the agents of a suite; raises UserError for scores that are not finite."""
    cells: dict[str, dict[str, Cell]] = {}
    for task in tasks:
        for agent, cell in task.agents.items():
            cells.setdefault(agent, {})[task.name] = cell
    complete = {agent: own for agent, own in cells.items() if len(own) == len(tasks)}
    finals = {agent: {task: cell.final_scores for task, cell in own.items()} for agent, own in complete.items()}
    ranks = tie_groups(finals, rng=_rng()) if finals else {}
    ranked = [_standing(agent, complete[agent], ranks) for agent in sorted(complete)]
    partial = [_standing(agent, cells[agent], {}) for agent in sorted(cells.keys() - complete.keys())]
    return Leaderboard(
        suite=suite,
        tasks=list(tasks),
        ranked=sorted(ranked, key=lambda row: (row.rank or 0, -row.score.estimate)),
        partial=partial,
        per_task={task.name: _task_standings(task) for task in tasks},
    )


def _task_standings(task: TaskCells) -> list[Standing]:
    ranks = tie_groups({agent: {task.name: cell.final_scores} for agent, cell in task.agents.items()}, rng=_rng())
    rows = [
        _standing(agent, {task.name: cell}, ranks, task.budget_steps) for agent, cell in sorted(task.agents.items())
    ]
    return sorted(rows, key=lambda row: -row.score.estimate)


def _standing(
    agent: str, cells: Mapping[str, Cell], ranks: Mapping[str, int], budget_steps: int | None = None
) -> Standing:
    """Figures of an agent over the given tasks; times to a target are given with the budget of a single task."""
    finished = np.concatenate([cell.finished for cell in cells.values()])
    hits = np.concatenate([cell.hit_steps for cell in cells.values()])
    timed = budget_steps is not None and len(hits) > 0
    return Standing(
        agent=agent,
        rank=ranks.get(agent),
        shared=list(ranks.values()).count(ranks.get(agent, 0)) > 1,
        n_tasks=len(cells),
        n_runs=len(finished),
        n_failed=int((~finished).sum()),
        score=stratified_interval({task: cell.final_scores for task, cell in cells.items()}, rng=_rng()),
        anytime=stratified_interval({task: cell.anytime_scores for task, cell in cells.items()}, rng=_rng()),
        n_reached=int(np.isfinite(hits).sum()),
        n_targeted=len(hits),
        action_rate_rms_per_s=_interval(
            {task: cell.final_column("action_rate_rms_per_s") for task, cell in cells.items()}, iqm
        ),
        wall_s_per_1000_steps=_interval({task: cell.wall_s_per_1000_steps for task, cell in cells.items()}, np.mean),
        median_steps=float(np.median(hits)) if timed else None,
        rmst_steps=rmst_interval(hits, budget_steps, rng=_rng()) if timed and budget_steps else None,
    )


def mean_interval(values: np.ndarray) -> Interval:
    """Mean of one task's runs (n_runs,) with its interval."""
    return stratified_interval({"the task": values}, np.mean, rng=_rng(), n_resamples=5000)


def _interval(values: Mapping[str, np.ndarray], statistic: Callable) -> Interval | None:
    """A statistic of the finite values of all runs; None where there is none."""
    finite = {task: runs[np.isfinite(runs)] for task, runs in values.items() if np.isfinite(runs).any()}
    return stratified_interval(finite, statistic, rng=_rng(), n_resamples=5000) if finite else None


def _rng() -> np.random.Generator:
    return np.random.default_rng(SEED)
