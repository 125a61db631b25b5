"""Runs that recorded their distance from an exact solution: a table, and error and cost against the dimension."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hjbbench.report.drawing import Figure, Look
from hjbbench.report.loglog import Line, draw_log_log
from hjbbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("value_rel_l2", "value_max_rel", "gradient_rel_l2", "anchor_rel", "regret_rel")
COSTS = ("solve_s", "solve_cpu_s", "memory_mb")
GOOD, FOUND = 0.002, 0.02
"""Relative errors: to stay within for good, and up to which the largest one counts as a solution found."""
GRID_NODES = 21
"""Per dimension, of the grid the figure of costs compares with."""


@dataclass(frozen=True)
class Exactness:
    """One solver on one problem; errors are relative to the exact value."""

    task: str
    agent: str
    solver: str
    """The registered solver; ``agent`` may be a variant of it."""
    state_dim: int
    dt: float
    spacing: float | None
    """Distance of two nodes over the box's size, of a solver on a grid."""
    measures: Mapping[str, float | None]
    """By ``MEASURES`` and ``COSTS``: medians over finished runs at their ends, None where not measured."""
    worst: float | None
    """The largest value_max_rel of all finished runs."""
    n_found: int | None
    """Runs whose value_max_rel is at most ``FOUND``; None where it is not measured."""
    n_runs: int
    """Failed runs included."""
    good_s: float | None
    """Median seconds until the error (in L2, else at the anchor) stays within ``GOOD``; None where most never do."""

    @property
    def family(self) -> str:
        """The problem without its dimension."""
        return re.sub(r"-d\d+$", "", self.task)


def exactness(runs: Sequence[Run]) -> list[Exactness]:
    """A row for every problem and solver whose runs recorded errors, by task and agent."""
    cells: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        cells.setdefault((run.record["task"], run.record["agent"]), []).append(run)
    rows = [_row(task, agent, own) for (task, agent), own in cells.items()]
    return sorted((row for row in rows if row), key=lambda row: (row.family, row.state_dim, row.agent))


def _row(task: str, agent: str, runs: Sequence[Run]) -> Exactness | None:
    done = [run.diagnostics for run in runs if run.record["status"] == "done"]
    tables = [table for table in done if table is not None and {"state_dim", "solve_s"} <= set(table.columns)]
    if not tables:
        return None

    def last(name: str) -> np.ndarray:
        found = [table[name].iloc[-1] for table in tables if name in table]
        return np.array([value for value in found if math.isfinite(value)])

    def median(values: np.ndarray) -> float | None:
        return float(np.median(values)) if len(values) else None

    reached = np.array([_seconds_to_good(table) for table in tables])
    largest = last("value_max_rel")
    return Exactness(
        task=task,
        agent=agent,
        solver=runs[0].record.get("variant_of") or agent,
        state_dim=int(tables[0]["state_dim"].iloc[-1]),
        dt=float(tables[0]["dt"].iloc[-1]),
        spacing=median(last("spacing")),
        measures={name: median(last(name)) for name in (*MEASURES, *COSTS)},
        worst=float(largest.max()) if len(largest) else None,
        n_found=int((largest <= FOUND).sum()) if len(largest) else None,
        n_runs=len(runs),
        good_s=float(np.median(reached)) if np.isfinite(np.median(reached)) else None,
    )


def _seconds_to_good(table: pd.DataFrame) -> float:
    """Seconds of solving after which the error stays within ``GOOD``; infinity where it does not at the end."""
    column = "value_rel_l2" if "value_rel_l2" in table and table["value_rel_l2"].notna().any() else "anchor_rel"
    if column not in table:
        return math.inf
    good = (table[column] <= GOOD).to_numpy()
    if not good[-1]:
        return math.inf
    first = len(good) - int(np.argmin(good[::-1])) if not good.all() else 0
    return float(table["solve_s"].iloc[first])


def draw_dimensions(rows: Sequence[Exactness], styles: Mapping[str, Look]) -> list[Figure]:
    """Error and cost against the dimension, one line per solver and family of problems with several dimensions."""
    groups: dict[tuple[str, str], list[Exactness]] = {}
    for row in rows:
        groups.setdefault((row.family, row.agent), []).append(row)
    several = {key: own for key, own in groups.items() if len({row.state_dim for row in own}) > 1}
    errors = [Line(*key, points) for key, own in several.items() if len(points := _points(own, "value_rel_l2")) > 1]
    costs = [
        Line(*key, points, _exponential(points))
        for key, own in several.items()
        if len(points := _points(own, "solve_cpu_s")) > 1
    ]
    figures = []
    if errors:
        figures.append(
            draw_log_log(
                "error-against-dimension",
                "Error against the dimension",
                "Median relative L2 error of V over the states it is sought at; lower is better.",
                errors,
                styles,
                "dimension of the state",
                "relative error of V",
            )
        )
    if costs:
        figures.append(
            draw_log_log(
                "seconds-against-dimension",
                "Seconds against the dimension",
                f"Median seconds of processor time; dotted: {GRID_NODES} to the power of the dimension, through the "
                "first point of each line, as a grid's cost grows.",
                costs,
                styles,
                "dimension of the state",
                "seconds of one processor",
            )
        )
    return figures


def _points(rows: Sequence[Exactness], measure: str) -> list[tuple[float, float]]:
    return [(row.state_dim, value) for row in rows if (value := row.measures[measure])]


def _exponential(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A grid's cost from the first point on, three dimensions further."""
    dim, cost = points[0]
    return [(dim + extra, cost * GRID_NODES**extra) for extra in np.linspace(0, 3, 31)]
