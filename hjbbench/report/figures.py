"""Figures of one task: learning curves, time to the target, return against smoothness.

A figure is drawn once, on white. Ink, grid and ground are fixed colours that the page replaces by its own, so that the
same drawing reads in light and dark; the agents' colours stand out on both.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hjbbench.report.cells import Cell, TaskCells
from hjbbench.report.standings import SEED, Standing
from hjbbench.report.tables import show_number
from hjbbench.stats.bootstrap import mean_band

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID, GROUND = "#1c1e21", "#5f6368", "#d9dadb", "#ffffff"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#c26aa0", "#6b6b6b", "#7a4fc9", "#389ad2")
"""After Okabe and Ito (2008); each at least 3:1 against white and against the page's dark ground."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">")
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
SIZE_IN = (4.8, 3.5)
MARGINS_IN = {"left": 0.55, "bottom": 0.52, "top": 0.2}
LETTER_IN = 0.074
"""Width of a letter of a label, for the margin beside the axes."""
LONGEST_LABEL = 20
STYLE: dict[Any, Any] = {
    "font.size": 10, "font.family": "sans-serif", "axes.edgecolor": MUTED, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": MUTED, "ytick.color": MUTED, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.6, "axes.linewidth": 0.8,
    "figure.facecolor": GROUND, "savefig.facecolor": GROUND, "axes.facecolor": "none",
    "text.parse_math": False, "svg.fonttype": "none", "savefig.dpi": 160,
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How one agent is drawn in every figure."""

    colour: str
    marker: str
    dash: Any


@dataclass(frozen=True)
class Figure:
    """A drawn figure: its file's name without suffix, both files' contents, and how to read it."""

    name: str
    title: str
    reading: str
    svg: str
    png: bytes


def looks(agents: Iterable[str]) -> dict[str, Look]:
    """A look for every agent, by the order of their names: colour and marker differ, colours repeat after seven."""
    return {
        agent: Look(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i // len(COLOURS) % len(DASHES)])
        for i, agent in enumerate(sorted(agents))
    }


def draw_task(task: TaskCells, rows: list[Standing], styles: Mapping[str, Look], stem: str) -> list[Figure]:
    """The figures of one task; those without data (no target, no finished run) are left out.

    Args:
        rows: the task's standings, best first: the order of the labels.
        styles: looks of all agents.
        stem: beginning of the files' names.
    """
    right = LETTER_IN * max(len(_label(row.agent)) for row in rows) + 0.35
    kinds: dict[str, tuple[str, str, Callable[[Axes], None]]] = {
        "learning-curve": (
            "Learning curve",
            "Mean score over seeds after so many environment steps, with its 95 % band; higher and earlier is better, "
            "a dotted line is a target.",
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
        kinds["score-smoothness"] = (
            "Return against smoothness",
            "Final score against the RMS rate at which the action changes (actions scaled to [-1, 1]); small marks are "
            "finished runs, large ones their means. Up and left is better: as good a return with a calmer control.",
            lambda axes: _score_smoothness(axes, task, rows, styles),
        )
    return [
        _draw(f"{stem}-{kind}", title, reading, paint, right if kind != "time-to-target" else 0.6)
        for kind, (title, reading, paint) in kinds.items()
    ]


def _draw(name: str, title: str, reading: str, paint: Callable[[Axes], None], right_in: float) -> Figure:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    svg, png = io.StringIO(), io.BytesIO()
    with mpl.rc_context(STYLE | {"svg.hashsalt": name}):  # no state of pyplot, no ids that change from call to call
        figure = Canvas(figsize=SIZE_IN)
        FigureCanvasAgg(figure)
        width, height = SIZE_IN
        figure.subplots_adjust(
            left=MARGINS_IN["left"] / width,
            right=1 - right_in / width,
            bottom=MARGINS_IN["bottom"] / height,
            top=1 - MARGINS_IN["top"] / height,
        )
        paint(figure.add_subplot())
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", metadata={"Software": None})
    return Figure(name, title, reading, svg.getvalue(), png.getvalue())


def _learning_curve(axes: Axes, task: TaskCells, rows: list[Standing], styles: Mapping[str, Look]) -> None:
    ends = {}
    for row in rows:
        look, cell = styles[row.agent], task.agents[row.agent]
        mean, low, high = mean_band(cell.scores, rng=np.random.default_rng(SEED))
        if np.isfinite(low).all():
            axes.fill_between(task.steps, low, high, color=look.colour, alpha=0.16, linewidth=0)
        axes.plot(task.steps, mean, color=look.colour, linestyle=look.dash, linewidth=1.6)
        ends[row.agent] = float(mean[-1])
    axes.set_ylim(bottom=0.0, top=max(1.05, axes.get_ylim()[1]))
    axes.set_xlim(0, task.steps[-1])
    _target_lines(axes, task)
    _labels_beside(axes, ends, styles)
    _step_axis(axes)
    axes.set_ylabel("score")


def _target_lines(axes: Axes, task: TaskCells) -> None:
    anchors = task.record["reference"]
    names = {
        f"target {show_number(target)}": (target - anchors["random"]) / (anchors["reference"] - anchors["random"])
        for target in task.record["targets"]
    }
    shown = {name: score for name, score in names.items() if 0 <= score <= axes.get_ylim()[1]}
    for name, place in _apart(axes, shown).items():
        axes.axhline(shown[name], color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        axes.annotate(name, (0, place), (4, 0), textcoords="offset points", va="center", color=MUTED, fontsize=8.5,
                      zorder=1.1,  # under the curves: no label hides a result
                      bbox={"facecolor": GROUND, "edgecolor": "none", "pad": 0.5})  # fmt: skip


def _labels_beside(axes: Axes, heights: Mapping[str, float], styles: Mapping[str, Look]) -> None:
    """Every agent's mark and name beside the axes, at its height or as near to it as the others allow."""
    for name, place in _apart(axes, heights).items():
        look, beside = styles[name], axes.get_yaxis_transform()
        axes.plot(1.03, place, look.marker, color=look.colour, markersize=5, transform=beside, clip_on=False)
        axes.annotate(_label(name), (1.06, place), xycoords=beside, va="center", annotation_clip=False)


def _apart(axes: Axes, heights: Mapping[str, float]) -> dict[str, float]:
    """The heights moved as little as keeps a line of text between any two, from the bottom to the top of the axes."""
    low, high = axes.get_ylim()
    gap = 0.055 * (high - low)
    names = sorted(heights, key=lambda name: heights[name])
    places: list[float] = []
    for name in names:
        places.append(max(heights[name], places[-1] + gap if places else low))
    ceiling = high
    for i in reversed(range(len(places))):  # those pushed beyond the top move back down
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    return dict(zip(names, places, strict=True))


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
    axes.set_yticks(range(len(rows)), [_label(row.agent) for row in reversed(rows)], color=INK)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, budget)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(visible=False, axis="y")
    _widen_left(axes, rows)
    _step_axis(axes)
    axes.annotate("reached", (budget, len(rows) - 0.4), (10, 0), textcoords="offset points", color=MUTED, fontsize=8.5,
                  va="bottom", ha="center", annotation_clip=False)  # fmt: skip


def _widen_left(axes: Axes, rows: list[Standing]) -> None:
    """Room for names in place of numbers on the vertical axis."""
    left = LETTER_IN * max(len(_label(row.agent)) for row in rows) + 0.2
    axes.figure.subplots_adjust(left=left / SIZE_IN[0])


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
    rates = np.concatenate([xy[:, 0] for xy in points.values()])
    if positive := rates[rates > 0].tolist():
        # Decades, as rates span them; a policy that never moves (rate 0) has its place left of the smallest rate.
        smallest = 10 ** math.floor(math.log10(min(positive)))
        axes.set_xscale("symlog", linthresh=smallest, linscale=0.3)
        subs = (1, 2, 5) if max(positive) < 100 * smallest else (1,)
        axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=smallest, subs=subs))
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(bottom=0.0, top=max(1.05, axes.get_ylim()[1]))
    axes.set_xlabel("action rate, RMS (1/s)")
    axes.set_ylabel("final score")
    _labels_beside(axes, ends, styles)


def _finished_points(cell: Cell) -> np.ndarray:
    """(runs, 2): action rate and final score of the finished runs that have both."""
    xy = np.column_stack([cell.final_column("action_rate_rms_per_s"), cell.final_scores])
    return xy[np.isfinite(xy).all(axis=1)]


def _step_axis(axes: Axes) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("environment steps")


def _label(agent: str) -> str:
    return agent if len(agent) <= LONGEST_LABEL else f"{agent[: LONGEST_LABEL - 1]}…"
