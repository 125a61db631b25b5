"""The value along the line of a one-dimensional problem: which solution of its equation each run has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hjbbench.report.drawing import INK, Figure, Look, draw, labels_beside, width_in
from hjbbench.store import Run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Line = tuple[np.ndarray, np.ndarray]
"""Places and values, (n,) each."""


def draw_profiles(runs: Sequence[Run], styles: Mapping[str, Look]) -> list[Figure]:
    """For every task whose runs recorded ``value_at_<x>`` and ``exact_at_<x>``: all their lines over the exact one."""
    tasks: dict[str, list[tuple[str, pd.Series]]] = {}
    for run in runs:
        table = run.diagnostics if run.record["status"] == "done" else None
        if table is not None and any(name.startswith("exact_at_") for name in table.columns.astype(str)):
            tasks.setdefault(run.record["task"], []).append((run.record["agent"], table.iloc[-1]))
    return [
        draw(
            f"value-along-the-line-{task.replace('/', '-')}",
            f"Value along the line, {task}",
            "One line per run, the exact viscosity solution thick and pale beneath them. Functions with other kinks "
            "can satisfy the equation almost everywhere too: a line that leaves the pale one has found one of those.",
            partial(_profiles, own=own, styles=styles),
            width_in(agent for agent, _ in own) + 0.35,
            left_in=0.75,
        )
        for task, own in tasks.items()
    ]


def _line(row: pd.Series, kind: str) -> Line:
    names = [name for name in row.index if name.startswith(kind)]
    return np.array([float(name.removeprefix(kind)) for name in names]), row[names].to_numpy(float)


def _profiles(axes: Axes, own: Sequence[tuple[str, pd.Series]], styles: Mapping[str, Look]) -> None:
    axes.plot(*_line(own[0][1], "exact_at_"), color=INK, alpha=0.25, linewidth=5, solid_capstyle="butt")
    ends = {}
    for agent, row in own:
        x, value = _line(row, "value_at_")
        axes.plot(x, value, linestyle=styles[agent].dash, color=styles[agent].colour, linewidth=0.9)
        ends[agent] = float(value[-1])
    axes.set_xlabel("state")
    axes.set_ylabel("value")
    labels_beside(axes, ends, styles)
