"""How fast errors fall with the time step or a grid's spacing, and how fast cost grows with the dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import linregress

from hjbbench.report.drawing import Figure, Look
from hjbbench.report.exactness import Exactness
from hjbbench.report.loglog import Line, draw_log_log

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
    for against, title, name in (
        ("dt", "Error against the time step", "time step (s)"),
        ("spacing", "Error on grids", "distance of two nodes over the box's size"),
    ):
        own = [
            Line(rate.problem, rate.agent, rate.points, _first_order(rate)) for rate in found if rate.against == against
        ]
        if own:
            figures.append(
                draw_log_log(
                    f"error-against-{against}",
                    title,
                    "Median relative L2 error of V; a solver of order p falls along slope p. Dotted: order 1.",
                    own,
                    styles,
                    name,
                    "relative error of V",
                )
            )
    return figures


def _first_order(rate: Rate) -> list[tuple[float, float]]:
    """The line of slope 1 through the coarsest point."""
    (finest, _), (coarsest, error) = rate.points[0], rate.points[-1]
    return [(finest, error * finest / coarsest), (coarsest, error)]
