"""Runs -> cells: what each agent did on each task, one entry per run that counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hjbbench.alike import check_alike
from hjbbench.errors import UserError
from hjbbench.metrics.convergence import area_under_curve, final_score, hitting_time
from hjbbench.scores import evaluation_steps, mean_returns, scores
from hjbbench.speed import why_times_differ
from hjbbench.store import EVAL_COLUMNS, Run

if TYPE_CHECKING:
    import pandas as pd

COST_AXES = ("n_updates", "t_wall_s")
"""Costs that differ between agents at the same decision; decisions and simulated seconds are the task's."""
MEASURED_BY_SOME = ("success_rate", "value_error_rel_l2")
"""Columns every evals.csv has and only some tasks fill."""


@dataclass(frozen=True)
class Cell:
    """The runs of one agent on one task. A failed run scores 0 wherever it was not evaluated."""

    finished: np.ndarray
    """(runs,) bool: status done; the others failed."""
    returns: np.ndarray
    """(runs, points): mean return at every evaluation of the task, the random one where a failed run made none."""
    scores: np.ndarray
    """(runs, points): normalised score, not below 0, at every evaluation of the task."""
    final_scores: np.ndarray
    """(runs,): mean score of the last fifth of the evaluations."""
    anytime_scores: np.ndarray
    """(runs,): area under the score curve over the share of the budget."""
    hit_steps: np.ndarray
    """(runs,): steps to the hardest target, infinity for a run that missed it or failed; empty without targets."""
    final: pd.DataFrame
    """One row per run: means of evals.csv's columns over the last fifth of evaluations, NaN for a failed run."""
    costs: dict[str, np.ndarray]
    """(runs, points) by ``COST_AXES``: spent at every evaluation; where a failed run made none, what it had spent."""
    n_steps: np.ndarray
    """(runs,): decisions taken."""
    t_wall_s: np.ndarray
    """(runs,): wall-clock seconds of training."""
    config_hash: str
    """The same in all runs: another configuration is another agent."""

    @property
    def wall_s_per_1000_steps(self) -> np.ndarray:
        """(runs,): wall-clock seconds of training per 1000 decisions, NaN for a run that took none."""
        nothing = np.full(len(self.n_steps), np.nan)
        return np.divide(1000 * self.t_wall_s, self.n_steps, out=nothing, where=self.n_steps > 0)

    def final_column(self, name: str) -> np.ndarray:
        """(runs,): one column of ``final``; NaN where a run has no such column or value."""
        return self.final[name].to_numpy() if name in self.final else np.full(len(self.finished), np.nan)


@dataclass(frozen=True)
class TaskCells:
    """One task: what all its runs share, and the cell of every agent that ran on it."""

    name: str
    record: dict[str, Any]
    """run.json of one of the runs, for the fields in which all agree."""
    steps: np.ndarray
    """(points,): decisions at every evaluation."""
    own_columns: tuple[str, ...]
    """Columns of evals.csv that only some tasks fill."""
    agents: dict[str, Cell]
    why_times_differ: str
    """Why wall-clock times of its runs do not compare; empty where they do."""

    @property
    def budget_steps(self) -> int:
        return self.record["budget"]["n_steps"]

    @property
    def hardest_target(self) -> float | None:
        """The last of the task's targets; None where it has none."""
        return self.record["targets"][-1] if self.record["targets"] else None


def collect(runs: Sequence[Run]) -> list[TaskCells]:
    """The tasks of counted runs (done or failed), by name.

    Raises:
        UserError: a name that cannot be printed; two runs of the same task, agent and seed; runs of a task that are not
            alike; evaluations that do not fit the run.json. The message names the run's folder.
    """
    tasks: dict[str, list[Run]] = {}
    for run in runs:
        for field in ("task", "agent"):
            if not run.record[field].isprintable():
                raise UserError(f"{run.path / 'run.json'}: {field} is {run.record[field]!r}, must be printable text")
        tasks.setdefault(run.record["task"], []).append(run)
    check_alike(runs)
    return [_task_cells(name, tasks[name]) for name in sorted(tasks)]


def _task_cells(name: str, runs: list[Run]) -> TaskCells:
    first = runs[0]
    tables = [run.evals for run in runs]
    steps = evaluation_steps(runs)
    by_agent: dict[str, list[int]] = {}
    for index, (run, table) in enumerate(zip(runs, tables, strict=True)):
        _check_table(run, table, steps)
        by_agent.setdefault(run.record["agent"], []).append(index)
    return TaskCells(
        name=name,
        record=first.record,
        steps=steps,
        own_columns=_own_columns(tables),
        agents={
            agent: _cell([runs[i] for i in indices], [tables[i] for i in indices], steps)
            for agent, indices in by_agent.items()
        },
        why_times_differ=why_times_differ([run.record for run in runs]),
    )


def _cell(runs: list[Run], tables: list[pd.DataFrame], steps: np.ndarray) -> Cell:
    import pandas as pd

    record = runs[0].record
    finished = np.array([run.record["status"] == "done" for run in runs])
    curves = scores(runs, steps)
    hits = [
        hitting_time(steps, table["return_mean"], record["targets"][-1]) if done else math.inf
        for table, done in zip(tables, finished, strict=True)
        if record["targets"]
    ]
    n_last = math.ceil(len(steps) / 5)
    finals = [
        table.select_dtypes("number").tail(n_last if done else 0).mean()
        for table, done in zip(tables, finished, strict=True)
    ]
    return Cell(
        finished=finished,
        returns=mean_returns(runs, steps),
        scores=curves,
        final_scores=np.array([final_score(curve) for curve in curves]),
        anytime_scores=np.array([area_under_curve(steps, curve) for curve in curves]),
        hit_steps=np.array(hits),
        final=pd.DataFrame(finals).reset_index(drop=True),
        costs={axis: np.array([_costs(*pair, axis, len(steps)) for pair in zip(runs, tables, strict=True)])
               for axis in COST_AXES},
        n_steps=np.array([run.record["totals"]["n_steps"] for run in runs], dtype=float),
        t_wall_s=np.array([run.record["totals"]["t_wall_s"] for run in runs], dtype=float),
        config_hash=runs[0].record["config_hash"],
    )  # fmt: skip


def _costs(run: Run, table: pd.DataFrame, axis: str, n_points: int) -> np.ndarray:
    """(n_points,): the cost at every evaluation; from where a run stopped on, all it had spent."""
    costs = np.full(n_points, float(run.record["totals"][axis]))
    costs[: len(table)] = table[axis]
    return costs


def _own_columns(tables: list[pd.DataFrame]) -> tuple[str, ...]:
    """Columns with a value in some run; "success" is what success_rate holds already."""
    names = dict.fromkeys(MEASURED_BY_SOME)
    for table in tables:
        names |= dict.fromkeys(
            table.select_dtypes("number").columns[len(EVAL_COLUMNS) :].drop("success", errors="ignore")
        )
    return tuple(name for name in names if any(name in table and table[name].notna().any() for table in tables))


def _check_table(run: Run, table: pd.DataFrame, steps: np.ndarray) -> None:
    path = run.path / "evals.csv"
    for axis in COST_AXES:
        if not np.isfinite(table[axis]).all():
            raise UserError(f"{path}: column {axis} must hold finite numbers only")
        if (np.diff(table[axis]) < 0).any():
            raise UserError(f"{path}: column {axis} falls; a cost can only grow")
    if not np.array_equal(table["n_steps"], steps[: len(table)]):
        raise UserError(f"{path}: evaluated at other n_steps than the other runs of this task; not comparable")
    if run.record["status"] == "done" and len(table) < len(steps):
        raise UserError(f"{path}: {len(table)} of {len(steps)} evaluations, but run.json says the run is done")
