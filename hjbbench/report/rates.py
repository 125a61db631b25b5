"""How fast errors fall with the time step or a grid's spacing, and how fast cost grows with the dimension."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import linregress

from hjbbench.report.drawing import MUTED, Figure, Look, draw, width_in
from hjbbench.report.exactness import Exactness

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST_POINTS = 3
"""A slope through two points says nothing about itself."""


@dataclass(frozen=True)
class Rate:
    """A power law through the runs of one solver that differ in one respect: ``of`` ~ ``against`` ^ ``slope``."""

    problem: str
    agent: str
    """The registered solver, its variants included."""
    against: str
    """dt, spacing or dimension."""
    of: str
    """error (of V, relative L2) or seconds (of one processor)."""
    points: tuple[tuple[float, float], ...]
    """(against, of), by size."""
    slope: float
    """Least squares in logarithms."""


Cell = tuple[str, str, float, float | None]
"""Problem, solver, and a point of its line."""


def rates(rows: Sequence[Exactness]) -> list[Rate]:
    """The rates that ``LEAST_POINTS`` or more different resolutions or dimensions allow."""
    errors: dict[str, list[Cell]] = {"dt": [], "spacing": []}
    costs: list[Cell] = []
    for row in rows:
        against, size = ("dt", row.dt) if row.spacing is None else ("spacing", row.spacing)
        errors[against].append((row.task, row.solver, size, row.measures["value_rel_l2"]))
        if row.agent == row.solver:
            costs.append((row.family, row.solver, row.state_dim, row.measures["solve_cpu_s"]))
    found = [rate for against, cells in errors.items() for rate in _fit(cells, against, "error")]
    return found + _fit(costs, "dimension", "seconds")


def _fit(cells: Sequence[Cell], against: str, of: str) -> list[Rate]:
    lines: dict[tuple[str, str], dict[float, float]] = {}
    for problem, agent, size, outcome in cells:
        if outcome:
            lines.setdefault((problem, agent), {})[size] = outcome
    return [
        Rate(problem, agent, against, of, tuple(sorted(points.items())), _slope(points))
        for (problem, agent), points in lines.items()
        if len(points) >= LEAST_POINTS
    ]


def _slope(points: Mapping[float, float]) -> float:
    return float(linregress(np.log(list(points)), np.log(list(points.values()))).slope)


def draw_orders(found: Sequence[Rate], styles: Mapping[str, Look]) -> list[Figure]:
    """Error against dt, and against the spacing of grids: a line per problem and solver; nothing without any."""
    figures = []
    for against, title, unit in (("dt", "Error against the time step", " (s)"), ("spacing", "Error on grids", "")):
        own = [rate for rate in found if rate.against == against]
        if own:
            figures.append(
                draw(
                    f"error-against-{against}",
                    title,
                    "Median relative L2 error of V; a solver of order p falls along slope p. Dotted: order 1.",
                    partial(_orders, own=own, styles=styles, name=f"{against}{unit}"),
                    width_in(_label(rate) for rate in own) + 0.35,
                )
            )
    return figures


def _label(rate: Rate) -> str:
    return rate.problem.split("/")[-1]


def _orders(axes: Axes, own: Sequence[Rate], styles: Mapping[str, Look], name: str) -> None:
    for rate in own:
        look = styles[rate.agent]
        x, y = np.array(rate.points).T
        axes.plot(x, y, look.marker, linestyle=look.dash, color=look.colour, markersize=4)
        axes.annotate(
            _label(rate), (1.03, y[-1]), xycoords=axes.get_yaxis_transform(), va="center", color=look.colour,
            annotation_clip=False,
        )  # fmt: skip
    x = np.array([min(rate.points[0][0] for rate in own), max(rate.points[-1][0] for rate in own)])
    foot = math.exp(np.mean([math.log(rate.points[0][1]) for rate in own]))
    axes.plot(x, foot * x / x[0], ":", color=MUTED, linewidth=0.9)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(name)
    axes.set_ylabel("relative error of V")
