"""Figures of a whole suite: runtime distribution, performance profile, and all scores at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from hjbbench.report import drawing
from hjbbench.report.convergence import Convergence
from hjbbench.report.drawing import GROUND, MUTED, Figure, Look, draw, label, labels_beside, width_in
from hjbbench.report.standings import SEED, Leaderboard
from hjbbench.stats.bootstrap import Band, performance_profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THRESHOLDS = np.linspace(0.0, 1.2, 61)
"""Scores at which the performance profile is read, from random to a little beyond the reference."""
HIGH_SCORE_COLOUR = "#7fb8d8"
"""Light enough for dark numbers on it, 7:1."""
CELL_IN = (0.72, 0.3)
"""Size of a cell of the table of scores."""


def draw_suite(board: Leaderboard, rows: Sequence[Convergence], styles: Mapping[str, Look]) -> list[Figure]:
    """Runtime distribution and performance profile of the agents with runs on every task; nothing without any."""
    if not rows:
        return []
    right = width_in(row.agent for row in rows) + 0.35
    return [
        draw(
            "runtime-distribution",
            "Runtime distribution",
            "Share of all targets (20 score levels from 0.05 to 1, every run of every task) reached and held within a "
            "share of the budget, with its 95 % band. Further left is faster, higher is more; the horizontal gap "
            "between two curves reads as how many times faster one is.",
            lambda axes: _runtime_distribution(axes, rows, styles),
            right,
        ),
        draw(
            "performance-profile",
            "Performance profile",
            "Share of all runs whose final score lies above each value, with its 95 % band. A curve above another "
            "everywhere is the better agent; where they cross, one is better on average and the other more reliable.",
            lambda axes: _performance_profile(axes, board, styles),
            right,
        ),
    ]


def _runtime_distribution(axes: Axes, rows: Sequence[Convergence], styles: Mapping[str, Look]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

    for row in rows:
        _band(axes, row.shares, row.band, styles[row.agent], stepped=True)
    axes.set_xscale("log")
    first = float(rows[0].shares[0])
    axes.set_xlim(first if first < 1 else 0.1, 1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("share of the budget")
    axes.set_ylabel("targets reached")
    axes.set_ylim(0, 1.02)
    labels_beside(axes, {row.agent: float(row.band[0][-1]) for row in rows}, styles)


def _performance_profile(axes: Axes, board: Leaderboard, styles: Mapping[str, Look]) -> None:
    for row in board.ranked:
        finals = {task.name: task.agents[row.agent].final_scores for task in board.tasks}
        band = performance_profile(finals, THRESHOLDS, rng=np.random.default_rng(SEED))
        _band(axes, THRESHOLDS, band, styles[row.agent], stepped=False)
    axes.axvline(1.0, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    axes.set_xlim(THRESHOLDS[0], THRESHOLDS[-1])
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("final score")
    axes.set_ylabel("runs above it")
    # All curves end at 0, so the labels cannot stand at their ends: a list in the order of the leaderboard.
    heights = {row.agent: 1.0 - 0.07 * place for place, row in enumerate(board.ranked)}
    labels_beside(axes, heights, styles)


def _band(axes: Axes, x: np.ndarray, band: Band, look: Look, *, stepped: bool) -> None:
    middle, low, high = band
    if np.isfinite(low).all():
        step: Literal["post"] | None = "post" if stepped else None
        axes.fill_between(x, low, high, color=look.colour, alpha=0.14, linewidth=0, step=step)
    drawstyle: Literal["steps-post", "default"] = "steps-post" if stepped else "default"
    axes.plot(x, middle, color=look.colour, linestyle=look.dash, linewidth=1.6, drawstyle=drawstyle)


def draw_scores(board: Leaderboard) -> Figure:
    """Every agent's score on every task as a coloured table, for papers; the page has the same table to sort."""
    agents = [row.agent for row in (*board.ranked, *board.partial)]
    left = width_in(task.name for task in board.tasks) + 0.25
    size = left + CELL_IN[0] * len(agents) + 0.2, 0.9 + CELL_IN[1] * len(board.tasks)
    return draw(
        "scores-by-task",
        "Scores by task",
        "Score of every agent on every task; 0 is a random policy, 1 the reference. Empty: no runs.",
        lambda axes: _score_table(axes, board, agents, left / size[0], size[1]),
        0.2,
        size,
    )


def _score_table(axes: Axes, board: Leaderboard, agents: Sequence[str], left: float, height_in: float) -> None:
    import seaborn
    from matplotlib.colors import LinearSegmentedColormap

    scores = np.full((len(board.tasks), len(agents)), np.nan)
    for i, task in enumerate(board.tasks):
        for row in board.per_task[task.name]:
            scores[i, agents.index(row.agent)] = row.score.estimate
    axes.figure.subplots_adjust(left=left, bottom=(drawing.MARGINS_IN["bottom"] + 0.2) / height_in)
    seaborn.heatmap(
        scores, mask=np.isnan(scores), vmin=0.0, vmax=1.0, annot=True, fmt=".2f", cbar=False, linewidths=1,
        linecolor=GROUND, cmap=LinearSegmentedColormap.from_list("scores", [GROUND, HIGH_SCORE_COLOUR]), ax=axes,
        xticklabels=[label(agent) for agent in agents], yticklabels=[label(task.name) for task in board.tasks],
    )  # fmt: skip
    axes.tick_params(length=0)
    axes.tick_params(axis="x", rotation=20)
    axes.tick_params(axis="y", rotation=0)
    axes.grid(visible=False)
