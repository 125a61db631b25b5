"""The page: one offline file that holds its own style, script and figures."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from hjbbench.campaign import Status
from hjbbench.evidence import EQUAL_RETURN
from hjbbench.report.cells import TaskCells
from hjbbench.report.convergence import MILESTONES, Convergence, Resolution
from hjbbench.report.drawing import GRID, GROUND, INK, MARKERS, MUTED, Figure, Look
from hjbbench.report.exactness import Exactness
from hjbbench.report.parts import Part
from hjbbench.report.provenance import configurations, provenance
from hjbbench.report.rates import Rate
from hjbbench.report.robustness import Sweep, sweeps
from hjbbench.report.smoothness import UNITS, against_best, interval_of_mean, pairs
from hjbbench.report.standings import Leaderboard
from hjbbench.report.tables import (
    show_bounds,
    show_difference,
    show_differences,
    show_number,
    show_range,
    show_rank,
    show_steps,
)
from hjbbench.report.verdicts import MEANINGS, SYMBOLS, Judged, tally
from hjbbench.store import Run

HERE = Path(__file__).parent
THEMED = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)", GROUND: "var(--ground)"}
"""Colours of the figures that follow the page's light or dark theme."""
GLYPHS = dict(zip(MARKERS, "●■▲◆▼✚✖⬟◀▶", strict=True))


@dataclass(frozen=True)
class Contents:
    """Everything the page shows."""

    board: Leaderboard
    headline: Sequence[str]
    judged: Sequence[Judged] | None
    """None where no claims were given."""
    judged_by: str
    """By which runs, in a sentence."""
    convergences: Sequence[Convergence]
    resolution: Resolution | None
    suite_figures: Sequence[Figure]
    task_figures: Mapping[str, Sequence[Figure]]
    """By task."""
    cost_figures: Mapping[str, Sequence[Figure]]
    styles: Mapping[str, Look]
    """By agent."""
    runs: Sequence[Run]
    """The runs that count."""
    exact: Sequence[Exactness]
    """Rows of the runs that recorded their distance from an exact solution."""
    parts: Sequence[Part]
    """Variants against the agents they are variants of."""
    exact_rates: Sequence[Rate]
    exact_figures: Sequence[Figure]
    status: Status
    """What of the plan is missing or still going on."""


def render(contents: Contents) -> str:
    """The page as HTML; every text from results is escaped by the template."""
    script = (HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "number": show_number, "bounds": show_bounds, "range": show_range, "rank": show_rank, "steps": show_steps,
        "difference": show_difference, "differences": show_differences, "sortable": _sortable, "inline": inline,
    }  # fmt: skip
    board, runs = contents.board, contents.runs
    return environment.get_template("page.html.j2").render(
        **vars(contents),
        glyphs=GLYPHS,
        stems=dict(zip((task.name for task in board.tasks), stems(board.tasks), strict=True)),
        scale=_scale(board),
        smoothness={task.name: against_best(task, board.per_task[task.name]) for task in board.tasks},
        pairs=pairs(board),
        units=UNITS,
        equal_return=EQUAL_RETURN,
        milestones=[(share, f"{100 * share:g}") for share in MILESTONES],
        infinity=math.inf,
        sweeps={task.name: _sweeps(contents, task.name) for task in board.tasks},
        interval_of_mean=interval_of_mean,
        symbols=SYMBOLS,
        meanings=MEANINGS,
        tally=tally(contents.judged or ()),
        failed=[run.record for run in runs if run.record["status"] != "done"],
        n_runs=len(runs),
        provenance=provenance(runs),
        configurations=configurations(runs, board.tasks),
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_digest=digest,
    )


def _sweeps(contents: Contents, task: str) -> list[Sweep]:
    return sweeps([run for run in contents.runs if run.record["task"] == task], contents.board.per_task[task])


def _scale(board: Leaderboard) -> float:
    """The score at the right end of the bars: that of the reference, or the largest shown."""
    everyone = [*board.ranked, *board.partial, *(row for rows in board.per_task.values() for row in rows)]
    bounds = [row.score.high for row in (*board.ranked, *board.partial) if math.isfinite(row.score.high)]
    return max(1.0, *bounds, *(row.score.estimate for row in everyone))


def stems(tasks: Iterable[TaskCells]) -> list[str]:
    """A name per task for files and anchors: letters, digits, dots and hyphens only, each once."""
    found: list[str] = []
    for task in tasks:
        stem = re.sub(r"[^A-Za-z0-9.-]+", "-", task.name).strip("-.") or "task"
        while stem in found:
            stem += "-"
        found.append(stem)
    return found


def inline(figure: Figure, label: str) -> Markup:
    """A figure as an SVG element in the page's colours and font, announced by its label."""
    svg = figure.svg[figure.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # the same in every figure; what is referred to has ids of its own
    svg = re.sub(r' (?:d|x|y)="[^"]*"', lambda numbers: _DECIMALS.sub(r"\1", numbers[0]), svg)
    for colour, variable in THEMED.items():
        svg = svg.replace(colour, variable)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1))


_DECIMALS = re.compile(r"(\.\d\d)\d+")
"""Digits of a place beyond a hundredth of a point, which no screen shows and which make up half the page."""


def _sortable(value: float | None) -> str:
    """A number as the page's script reads it back; empty for what was not measured."""
    if value is None or math.isnan(value):
        return ""
    return "Infinity" if math.isinf(value) else f"{value:.8g}"
