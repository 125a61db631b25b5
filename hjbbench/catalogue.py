"""What is registered and shipped, as rows for a table or for JSON."""

from __future__ import annotations

from typing import Any

from hjbbench.planning import load_suite, suite_names
from hjbbench.registry import all_agents, all_tasks


def tasks() -> list[dict[str, Any]]:
    """Every registered task by name, with its times in seconds and its rate in 1/s."""
    return [
        {
            "name": task.name,
            "dt": task.dt,
            "horizon_s": task.horizon_s,
            "discount_rate": task.discount_rate,
            "targets": list(task.targets),
            "version": task.version,
        }
        for _, task in sorted(all_tasks().items())
    ]


def agents() -> list[dict[str, Any]]:
    """Every registered agent by name, with its summary."""
    return [{"name": entry.name, "summary": entry.summary} for _, entry in sorted(all_agents().items())]


def suites() -> list[dict[str, Any]]:
    """Every shipped suite with its description."""
    found = map(load_suite, suite_names())
    return [{"name": suite.name, "description": suite.description} for suite in found]
