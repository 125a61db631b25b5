"""Where the runs come from: seeds, protocol, software, machines, commits, configurations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hjbbench.report.cells import TaskCells
from hjbbench.report.tables import show_number
from hjbbench.store import Run

TUNING = (
    "The trials behind every agent's defaults are logged in docs/tuning.md of the project, the baselines' in "
    "docs/tuning-baselines.md."
)


@dataclass(frozen=True)
class Configuration:
    """One agent's configuration, and where it was used."""

    agent: str
    text: str
    """The configuration as JSON."""
    uses: list[tuple[str, str]]
    """Task and config_hash; the hash covers budget, evaluation and control interval too, so it differs by task."""


def provenance(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Facts by name; values that differ between runs are listed with their number of runs."""
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
        ("Speed", _distinct(_speed(record.get("speed_gflops")) for record in records)),
        ("Peak memory", f"{show_number(max(record['peak_rss_mb'] for record in records))} MB"),
        ("Tuning", TUNING),
    ]


def configurations(runs: Sequence[Run], tasks: Sequence[TaskCells]) -> list[Configuration]:
    """Every agent's distinct configurations, by its name."""
    uses: dict[tuple[str, str], dict[str, None]] = {}
    for run in runs:
        text = json.dumps(run.record["config"], sort_keys=True, indent=1)
        uses.setdefault((run.record["agent"], text), {})[run.record["task"]] = None
    hashes = {(agent, task.name): cell.config_hash for task in tasks for agent, cell in task.agents.items()}
    return [
        Configuration(agent, text, [(task, hashes[agent, task]) for task in sorted(used)])
        for (agent, text), used in sorted(uses.items(), key=lambda item: item[0])
    ]


def _distinct(values: Iterable[Any]) -> str:
    counts = Counter(map(str, values))
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{value} ({count} runs)" for value, count in sorted(counts.items()))


def _speed(gflops: float | None) -> str:
    return f"about {round(gflops, -1):.0f} GFLOP/s of matrix products" if gflops else "not recorded"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
