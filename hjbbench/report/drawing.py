"""How every figure is drawn: the agents' looks, one style, labels that stay apart, and three file formats.

A figure is drawn once, on white. Ink, grid and ground are fixed colours that the page replaces by its own, so that the
same drawing reads in light and dark; the agents' colours stand out on both.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis

INK, MUTED, GRID, GROUND = "#1c1e21", "#5f6368", "#d9dadb", "#ffffff"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#c26aa0", "#6b6b6b", "#7a4fc9", "#389ad2")
"""After Okabe and Ito (2008); each at least 3:1 against white and against the page's dark ground."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">")
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
SIZE_IN = (4.8, 3.5)
MARGINS_IN = {"left": 0.55, "bottom": 0.52, "top": 0.2}
LETTER_IN = 0.074
"""Width of a letter of a label, for the margin beside the axes."""
LONGEST_LABEL = 24
STYLE: dict[Any, Any] = {
    "font.size": 10, "font.family": "sans-serif", "axes.edgecolor": MUTED, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": MUTED, "ytick.color": MUTED, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.6, "axes.linewidth": 0.8,
    "figure.facecolor": GROUND, "savefig.facecolor": GROUND, "axes.facecolor": "none",
    "text.parse_math": False, "svg.fonttype": "none", "pdf.fonttype": 3, "savefig.dpi": 160,
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How one agent is drawn in every figure."""

    colour: str
    marker: str
    dash: Any


@dataclass(frozen=True)
class Figure:
    """A drawn figure: its file's name without suffix, the files' contents, and how to read it."""

    name: str
    title: str
    reading: str
    svg: str
    png: bytes
    pdf: bytes


def looks(agents: Iterable[str]) -> dict[str, Look]:
    """A look for every agent, by the order of their names: colour and marker differ, colours repeat after seven."""
    return {
        agent: Look(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i // len(COLOURS) % len(DASHES)])
        for i, agent in enumerate(sorted(agents))
    }


def draw(
    name: str,
    title: str,
    reading: str,
    paint: Callable[[Axes], None],
    right_in: float,
    size_in: tuple[float, float] = SIZE_IN,
    left_in: float = MARGINS_IN["left"],
) -> Figure:
    """Let ``paint`` fill the axes of a new figure and keep it in all formats; the same data give the same bytes.

    Args:
        right_in: margin beside the axes, for labels.
        left_in: margin for the numbers and the name of the vertical axis.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    svg, png, pdf = io.StringIO(), io.BytesIO(), io.BytesIO()
    with mpl.rc_context(STYLE | {"svg.hashsalt": name}):  # no state of pyplot, no ids that change from call to call
        figure = Canvas(figsize=size_in)
        FigureCanvasAgg(figure)
        width, height = size_in
        figure.subplots_adjust(
            left=left_in / width,
            right=1 - right_in / width,
            bottom=MARGINS_IN["bottom"] / height,
            top=1 - MARGINS_IN["top"] / height,
        )
        paint(figure.add_subplot())
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", metadata={"Software": None})
        figure.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return Figure(name, title, reading, svg.getvalue(), png.getvalue(), pdf.getvalue())


def label(agent: str) -> str:
    """An agent's name as it fits beside a figure."""
    if len(agent) <= LONGEST_LABEL:
        return agent
    half = LONGEST_LABEL // 2
    return f"{agent[: LONGEST_LABEL - half - 1]}…{agent[-half:]}"  # variants begin alike and differ at the end


def width_in(agents: Iterable[str]) -> float:
    """Width that the longest of the agents' labels takes, in inches."""
    return LETTER_IN * max(len(label(agent)) for agent in agents)


def labels_beside(axes: Axes, heights: Mapping[str, float], styles: Mapping[str, Look]) -> None:
    """Every agent's mark and name beside the axes, at its height or as near to it as the others allow."""
    for name, place in apart(axes, heights).items():
        look, beside = styles[name], axes.get_yaxis_transform()
        axes.plot(1.03, place, look.marker, color=look.colour, markersize=5, transform=beside, clip_on=False)
        axes.annotate(label(name), (1.06, place), xycoords=beside, va="center", annotation_clip=False)


def apart(axes: Axes, heights: Mapping[str, float]) -> dict[str, float]:
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


def count_axis(axis: XAxis, name: str) -> None:
    """A horizontal axis of large counts, with k and M."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(EngFormatter(sep=""))
    axis.set_label_text(name)
