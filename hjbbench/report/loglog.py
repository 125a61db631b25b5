"""Figures with two logarithmic axes and a line per problem and solver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hjbbench.report.drawing import LETTER_IN, MUTED, SIZE_IN, Figure, Look, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

SMALL = 8
"""Size of the legend's letters: there are many lines."""
HANDLE_IN = 0.55
LEFT_IN = 0.85


@dataclass(frozen=True)
class Line:
    """A solver on a problem: its measured points, and a faint line to compare them with."""

    problem: str
    agent: str
    points: Sequence[tuple[float, float]]
    guide: Sequence[tuple[float, float]] = ()

    @property
    def label(self) -> str:
        return f"{self.problem.split('/')[-1]}, {self.agent}"


def draw_log_log(
    name: str, title: str, reading: str, lines: Sequence[Line], styles: Mapping[str, Look], x_name: str, y_name: str
) -> Figure:
    """All lines in one figure, named beside it in the order of their last points."""
    ordered = sorted(lines, key=lambda line: -line.points[-1][1])
    beside = HANDLE_IN + LETTER_IN * SMALL / 10 * max(len(line.label) for line in lines)
    paint = partial(_paint, lines=ordered, styles=styles, names=(x_name, y_name))
    return draw(name, title, reading, paint, beside, (SIZE_IN[0] + beside, SIZE_IN[1]), LEFT_IN)


def _paint(axes: Axes, lines: Sequence[Line], styles: Mapping[str, Look], names: tuple[str, str]) -> None:
    for line in lines:
        look = styles[line.agent]
        style: dict[str, Any] = {"marker": look.marker, "linestyle": look.dash, "color": look.colour, "markersize": 4}
        axes.plot(*zip(*line.points, strict=True), label=line.label, linewidth=1, **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.autoscale(False)  # the measured points fill the figure, whatever they are compared with
    for line in lines:
        if line.guide:
            axes.plot(*zip(*line.guide, strict=True), ":", color=MUTED, linewidth=0.9)
    for axis, name in zip((axes.xaxis, axes.yaxis), names, strict=True):
        _plain_numbers(axis)
        axis.set_label_text(name)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize=SMALL, borderaxespad=0, handlelength=1.8
    )


def _plain_numbers(axis: Axis) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
