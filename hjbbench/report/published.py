"""Our learning curves over published ones: points of published.csv, each with its source and environment version."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hjbbench.report.cells import TaskCells
from hjbbench.report.drawing import MUTED, Figure, Look, count_axis, draw, labels_beside, width_in
from hjbbench.report.figures import mean_curve
from hjbbench.report.standings import Standing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = ("x", "+", "1", "2", "3", "4", "*")
DEVIATION = 0.1
"""Relative difference from a published mean that asks for an explanation."""
LEFT_IN = 0.75
"""Margin beside the vertical axis: returns are longer than scores."""


@dataclass(frozen=True)
class Point:
    """A published mean return after so many decisions; fields are the columns of published.csv."""

    task: str
    environment: str
    """Gymnasium's name for our task's environment."""
    agent: str
    """Ours for the same algorithm; empty where there is none."""
    algorithm: str
    version: str
    """Of the published environment; "own" has changes that the publication does not measure."""
    n_steps: int
    return_mean: float
    return_sd: float
    """Over seeds."""
    n_seeds: int
    source: str

    @property
    def name(self) -> str:
        return f"{self.algorithm} {self.version}"


def published(task: str) -> list[Point]:
    """The published points for a task, in the file's order."""
    with open(Path(__file__).with_suffix(".csv"), newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["task"] == task]
    return [
        Point(
            **{key: row[key] for key in ("task", "environment", "agent", "algorithm", "version", "source")},
            n_steps=int(row["n_steps"]),
            return_mean=float(row["return_mean"]),
            return_sd=float(row["return_sd"]),
            n_seeds=int(row["n_seeds"]),
        )
        for row in rows
    ]


def draw_published(task: TaskCells, rows: Sequence[Standing], styles: Mapping[str, Look], stem: str) -> list[Figure]:
    """Our mean returns and the published ones, with a sentence of numbers; nothing where nothing was published.

    Arguments are those of ``hjbbench.report.figures.draw_task``.
    """
    points = [point for point in published(task.name) if point.n_steps <= task.budget_steps]
    if not points:
        return []
    names = list(dict.fromkeys(point.name for point in points))
    looks = dict(styles)
    for place, name in enumerate(names):
        agent = next(point.agent for point in points if point.name == name)
        colour = styles[agent].colour if agent in styles else MUTED
        looks[name] = Look(colour, MARKERS[place % len(MARKERS)], "-")
    labels = [*names, *(row.agent for row in rows)]
    reading = (
        f"Mean return over seeds of our runs on {points[0].environment} with its 95 % band (lines), and published "
        "means with the standard deviation over seeds on other versions of the environment (marks, the version "
        f"beside the name). {_numbers(task, points)}"
    )
    return [
        draw(
            f"{stem}-published",
            "Against published curves",
            reading.strip(),
            lambda axes: _curves(axes, task, rows, points, looks),
            width_in(labels) + 0.35,
            left_in=LEFT_IN,
        )
    ]


def _numbers(task: TaskCells, points: Sequence[Point]) -> str:
    """Ours beside theirs at the last published point of every algorithm that we have runs of."""
    last = {point.name: point for point in points if point.agent in task.agents}
    parts = []
    for point in last.values():
        mean = task.agents[point.agent].returns.mean(axis=0)
        ours = float(np.interp(point.n_steps, task.steps, mean))
        change = ours / point.return_mean - 1.0
        mark = " (!)" if abs(change) > DEVIATION else ""
        parts.append(f"{point.agent} {ours:,.0f} against {point.return_mean:,.0f} of {point.name}, {change:+.0%}{mark}")
    if not parts:
        return ""
    return (
        f"After {max(point.n_steps for point in last.values()):,} decisions: {'; '.join(parts)}. "
        f"(!): more than {DEVIATION:.0%} apart; docs/tuning-baselines.md says why, as far as is known."
    )


def _curves(
    axes: Axes, task: TaskCells, rows: Sequence[Standing], points: Sequence[Point], looks: Mapping[str, Look]
) -> None:
    from matplotlib.ticker import EngFormatter

    ends = {}
    for row in rows:
        ends[row.agent] = mean_curve(axes, task.steps, task.agents[row.agent].returns, looks[row.agent], alpha=0.12)
    for point in points:
        look = looks[point.name]
        axes.errorbar(point.n_steps, point.return_mean, point.return_sd, marker=look.marker, color=look.colour,
                      markersize=7, markeredgewidth=1.5, elinewidth=0.8, clip_on=False)  # fmt: skip
        ends[point.name] = point.return_mean
    axes.set_xlim(0, task.budget_steps)
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_ylabel("return")
    count_axis(axes.xaxis, "environment steps")
    labels_beside(axes, ends, looks)
