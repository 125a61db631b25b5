"""Figures of one task: learning curves over three costs, time to the target, return against smoothness."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from hjbbench.report.cells import Cell, TaskCells
from hjbbench.report.convergence import over_cost
from hjbbench.report.drawing import (
    GROUND,
    INK,
    MUTED,
    SIZE_IN,
    Figure,
    Look,
    apart,
    count_axis,
    draw,
    label,
    labels_beside,
    width_in,
)  # fmt: skip
from hjbbench.report.standings import SEED, Standing
from hjbbench.report.tables import show_number
from hjbbench.stats.bootstrap import mean_band

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kinds = dict[str, tuple[str, str, Callable[["Axes"], None]]]
SAME_SPEED = "All runs have the same machine record and found it equally fast, so the times compare."
OTHER_SPEED = "The times of two agents need not compare: {why}."
LOG_SCALE = " (log scale)"
DECADE = 10.0
"""Action rates that span less than this factor stand on a linear axis."""


def draw_task(task: TaskCells, rows: list[Standing], styles: Mapping[str, Look], stem: str) -> list[Figure]:
    """The figures of one task; those without data (no target, no finished run) are left out.

    Args:
        rows: the task's standings, best first: the order of the labels.
        styles: looks of all agents.
        stem: beginning of the files' names.
    """
    kinds: Kinds = {
        "learning-curve": (
            "Learning curve",
            "Mean score over seeds after so many decisions (below) or so much simulated time (above), with its 95 % "
            "band, which a single run has not; higher and earlier is better, a dotted line is a target.",
            lambda axes: _learning_curve(axes, task, rows, styles),
        )
    }
    if task.hardest_target is not None:
        kinds["time-to-target"] = (
            "Time to the hardest target",
            "Large mark: mean steps until the target was reached and held, or the budget, with its 95 % interval; "
            "small marks are single runs, those at the dashed line never got there. Further left is better.",
            lambda axes: _time_to_target(axes, task, rows, styles),
        )
    if any(row.n_failed < row.n_runs for row in rows):
        scale = LOG_SCALE if _spans_decades(_rates(task)) else ""
        kinds["score-smoothness"] = (
            "Return against smoothness",
            f"Final score against the RMS rate at which the action changes{scale}, actions scaled to [-1, 1]; small "
            "marks are finished runs, large ones their means. Up and left is better: as good a return with a calmer "
            "control.",
            lambda axes: _score_smoothness(axes, task, rows, styles),
        )
    return _draw_all(kinds, rows, stem)


def draw_costs(task: TaskCells, rows: list[Standing], styles: Mapping[str, Look], stem: str) -> list[Figure]:
    """The learning curves over what differs between agents at the same decision: gradient steps and wall-clock time.

    Arguments are those of ``draw_task``.
    """
    comparable = OTHER_SPEED.format(why=task.why_times_differ) if task.why_times_differ else SAME_SPEED
    kinds: Kinds = {
        "updates-curve": (
            "Learning curve over gradient steps",
            "Mean score over seeds after so many gradient steps, with its 95 % band, which a single run has not; a "
            "mark: it makes none.",
            lambda axes: _cost_curve(axes, task, rows, styles, "n_updates", "gradient steps"),
        ),
        "wall-clock-curve": (
            "Learning curve over wall-clock time",
            f"Mean score over seeds after so many seconds of training, evaluation excluded. {comparable}",
            lambda axes: _cost_curve(axes, task, rows, styles, "t_wall_s", "wall-clock time (s)"),
        ),
    }
    return _draw_all(kinds, rows, stem)


def _draw_all(kinds: Kinds, rows: list[Standing], stem: str) -> list[Figure]:
    right = width_in(row.agent for row in rows) + 0.35
    return [
        draw(f"{stem}-{kind}", title, reading, paint, right if kind != "time-to-target" else 0.6)
        for kind, (title, reading, paint) in kinds.items()
    ]


def _learning_curve(axes: Axes, task: TaskCells, rows: list[Standing], styles: Mapping[str, Look]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    curves = {row.agent: (task.steps.astype(float), task.agents[row.agent].scores) for row in rows}
    _curves(axes, task, curves, styles)
    count_axis(axes.xaxis, "environment steps")
    dt = task.record["dt"]
    above = axes.secondary_xaxis("top", functions=(lambda n: n * dt, lambda t: t / dt))
    above.spines["top"].set_visible(False)
    above.xaxis.set_major_locator(MaxNLocator(5))
    above.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g} s"))
    above.tick_params(length=0, pad=1, labelsize=8.5)


def _cost_curve(
    axes: Axes, task: TaskCells, rows: list[Standing], styles: Mapping[str, Look], cost: str, name: str
) -> None:
    _curves(axes, task, {row.agent: over_cost(task.agents[row.agent], cost) for row in rows}, styles)
    count_axis(axes.xaxis, name)


def _curves(
    axes: Axes, task: TaskCells, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], styles: Mapping[str, Look]
) -> None:
    """Mean and band of every agent's scores (runs, points) over its costs (points,)."""
    ends = {}
    for agent, (costs, scores) in curves.items():
        ends[agent] = mean_curve(axes, costs, scores, styles[agent])
    axes.set_ylim(bottom=0.0, top=max(1.05, axes.get_ylim()[1]))
    axes.set_xlim(0, max(costs[-1] for costs, _ in curves.values()) or 1)
    _target_lines(axes, task)
    labels_beside(axes, ends, styles)
    axes.set_ylabel("score")


def mean_curve(axes: Axes, costs: np.ndarray, outcomes: np.ndarray, look: Look, alpha: float = 0.16) -> float:
    """The mean over runs of outcomes (runs, points) and its 95 % band over costs (points,); returns the last mean."""
    mean, low, high = mean_band(outcomes, rng=np.random.default_rng(SEED))
    if np.isfinite(low).all() and len(costs) > 1:
        axes.fill_between(costs, low, high, color=look.colour, alpha=alpha, linewidth=0)
    marker = look.marker if len(costs) == 1 else ""
    axes.plot(costs, mean, color=look.colour, linestyle=look.dash, linewidth=1.6, marker=marker)
    return float(mean[-1])


def _target_lines(axes: Axes, task: TaskCells) -> None:
    anchors = task.record["reference"]
    names = {
        f"target {show_number(target)}": (target - anchors["random"]) / (anchors["reference"] - anchors["random"])
        for target in task.record["targets"]
    }
    shown = {name: score for name, score in names.items() if 0 <= score <= axes.get_ylim()[1]}
    for name, place in apart(axes, shown).items():
        axes.axhline(shown[name], color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        axes.annotate(name, (0, place), (4, 0), textcoords="offset points", va="center", color=MUTED, fontsize=8.5,
                      zorder=1.1,  # under the curves: no label hides a result
                      bbox={"facecolor": GROUND, "edgecolor": "none", "pad": 0.5})  # fmt: skip


def _time_to_target(axes: Axes, task: TaskCells, rows: list[Standing], styles: Mapping[str, Look]) -> None:
    budget = task.budget_steps
    for place, row in enumerate(reversed(rows)):
        look, hits, mean = styles[row.agent], task.agents[row.agent].hit_steps, row.rmst_steps
        spread = place + 0.24 * np.linspace(-1, 1, len(hits)) if len(hits) > 1 else np.array([float(place)])
        reached = np.isfinite(hits)
        axes.plot(hits[reached], spread[reached], look.marker, color=look.colour, markersize=3.2, alpha=0.55)
        axes.plot(np.full((~reached).sum(), budget), spread[~reached], ">", color=look.colour, markersize=3.6,
                  markerfacecolor=GROUND, clip_on=False, zorder=3)  # fmt: skip
        if mean is not None:
            if math.isfinite(mean.low):
                axes.plot([mean.low, mean.high], [place, place], color=look.colour, linewidth=1.8)
            axes.plot(mean.estimate, place, look.marker, color=look.colour, markersize=7.5, markeredgecolor=GROUND,
                      clip_on=False, zorder=4)  # fmt: skip
        axes.annotate(f"{row.n_reached}/{row.n_targeted}", (budget, place), (10, 0), textcoords="offset points",
                      va="center", color=MUTED, annotation_clip=False)  # fmt: skip
    axes.axvline(budget, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.set_yticks(range(len(rows)), [label(row.agent) for row in reversed(rows)], color=INK)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, budget)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.figure.subplots_adjust(left=(width_in(row.agent for row in rows) + 0.2) / SIZE_IN[0])  # names, not numbers
    count_axis(axes.xaxis, "environment steps")
    axes.annotate("reached", (budget, len(rows) - 0.4), (10, 0), textcoords="offset points", color=MUTED, fontsize=8.5,
                  va="bottom", ha="center", annotation_clip=False)  # fmt: skip


def _score_smoothness(axes: Axes, task: TaskCells, rows: list[Standing], styles: Mapping[str, Look]) -> None:
    from matplotlib.ticker import FuncFormatter, SymmetricalLogLocator

    points = {row.agent: _finished_points(task.agents[row.agent]) for row in rows}
    points = {agent: xy for agent, xy in points.items() if len(xy)}
    ends = {}
    for agent, xy in points.items():
        look, (rate, score) = styles[agent], xy.mean(axis=0)
        axes.plot(*xy.T, look.marker, color=look.colour, markersize=3.2, alpha=0.5, linewidth=0)
        axes.plot(rate, score, look.marker, color=look.colour, markersize=8, markeredgecolor=GROUND, zorder=4)
        ends[agent] = score
    rates = _rates(task)
    unit = "1/s"
    if _spans_decades(rates):
        # A policy that never moves (rate 0) has its place left of the smallest rate.
        smallest = 10 ** math.floor(math.log10(rates[rates > 0].min()))
        axes.set_xscale("symlog", linthresh=smallest, linscale=0.3)
        subs = (1, 2, 5) if rates.max() < 100 * smallest else (1,)
        axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=smallest, subs=subs))
        unit += LOG_SCALE
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(bottom=0.0, top=max(1.05, axes.get_ylim()[1]))
    axes.set_xlabel(f"action rate, RMS, {unit}")
    axes.set_ylabel("final score")
    labels_beside(axes, ends, styles)


def _rates(task: TaskCells) -> np.ndarray:
    """Action rates of all finished runs that have a place in the figure."""
    return np.concatenate([_finished_points(cell)[:, 0] for cell in task.agents.values()])


def _spans_decades(rates: np.ndarray) -> bool:
    positive = rates[rates > 0]
    return len(positive) > 0 and bool(positive.max() >= DECADE * positive.min())


def _finished_points(cell: Cell) -> np.ndarray:
    """(runs, 2): action rate and final score of the finished runs that have both."""
    xy = np.column_stack([cell.final_column("action_rate_rms_per_s"), cell.final_scores])
    return xy[np.isfinite(xy).all(axis=1)]
