"""The page: one offline file that holds its own style, script and figures."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape

from hjbbench.campaign import Status
from hjbbench.report.cells import Cell, TaskCells
from hjbbench.report.figures import GRID, GROUND, INK, MARKERS, MUTED, Figure, Look
from hjbbench.report.standings import Leaderboard
from hjbbench.report.tables import show_bounds, show_number, show_rank, show_steps
from hjbbench.store import Run

HERE = Path(__file__).parent
THEMED = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)", GROUND: "var(--ground)"}
"""Colours of the figures that follow the page's light or dark theme."""
GLYPHS = dict(zip(MARKERS, "●■▲◆▼✚✖⬟◀▶", strict=True))


def render(
    board: Leaderboard,
    headline: Sequence[str],
    figures: Mapping[str, Sequence[Figure]],
    styles: Mapping[str, Look],
    runs: Sequence[Run],
    status: Status,
) -> str:
    """The page as HTML; every text from results is escaped by the template.

    Args:
        figures: by task.
        styles: looks by agent.
        runs: the runs that count.
        status: what of the plan is missing or still going on.
    """
    script = (HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": show_number, "bounds": show_bounds, "rank": show_rank, "steps": show_steps,
                            "sortable": _sortable, "inline": inline}  # fmt: skip
    everyone = [*board.ranked, *board.partial]
    return environment.get_template("page.html.j2").render(
        board=board,
        headline=headline,
        figures=figures,
        styles=styles,
        glyphs=GLYPHS,
        stems=dict(zip((task.name for task in board.tasks), stems(board.tasks), strict=True)),
        scale=max(1.0, *(row.score.high for row in everyone if math.isfinite(row.score.high)), *_estimates(board)),
        mean_of=mean_of,
        failed=[run.record for run in runs if run.record["status"] != "done"],
        n_runs=len(runs),
        status=status,
        provenance=provenance(runs),
        settings=_settings(runs),
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_digest=digest,
    )


def _estimates(board: Leaderboard) -> list[float]:
    return [row.score.estimate for rows in board.per_task.values() for row in rows]


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
    for colour, variable in THEMED.items():
        svg = svg.replace(colour, variable)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1))


def mean_of(cell: Cell, column: str) -> float:
    """Mean over finished runs of a column's last fifth; NaN where no run has a value."""
    values = cell.final_column(column)
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else math.nan


def _sortable(value: float | None) -> str:
    """A number as the page's script reads it back; empty for what was not measured."""
    if value is None or math.isnan(value):
        return ""
    return "Infinity" if math.isinf(value) else f"{value:.8g}"


def provenance(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Where the runs come from; values that differ between runs are listed with their number of runs."""
    records = [run.record for run in runs]
    protocol = [record.get("evaluation") or {} for record in records]
    return [
        ("Seeds", ", ".join(map(str, sorted({record["seed"] for record in records})))),
        ("Run between", f"{min(r['started_at'] for r in records)} and {max(r['finished_at'] or '' for r in records)}"),
        ("Evaluations per run", _distinct(part.get("n_evals", "not recorded") for part in protocol)),
        ("Episodes per evaluation", _distinct(part.get("n_episodes", "not recorded") for part in protocol)),
        ("Git revision", _distinct(record["git_revision"] or "none" for record in records)),
        ("Software", _distinct(_pairs(record["versions"]) for record in records)),
        ("Machine", _distinct(_pairs(record["machine"]) for record in records)),
        ("Peak memory", f"{show_number(max(record['peak_rss_mb'] for record in records))} MB"),
    ]


def _distinct(values: Iterable[Any]) -> str:
    counts = Counter(map(str, values))
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{value} ({count} runs)" for value, count in sorted(counts.items()))


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _settings(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Every agent's distinct configurations as JSON text."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        text = json.dumps(run.record["config"], sort_keys=True, indent=1)
        found.setdefault(run.record["agent"], {})[text] = None
    return {agent: list(texts) for agent, texts in sorted(found.items())}
