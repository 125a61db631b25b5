"""Runs that may be averaged and compared: of a task under the same conditions, of an agent in one configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hjbbench.errors import UserError
from hjbbench.store import Run


def check_alike(runs: Sequence[Run]) -> None:
    """Raise UserError for a seed that is there twice and for the first field in which a task's or agent's runs differ.

    The message names the folders of both runs.
    """
    seeds: dict[tuple[str, str, int], Run] = {}
    agents: dict[tuple[str, str], Run] = {}
    check_conditions(runs)
    for run in runs:
        task, agent, seed = (run.record[name] for name in ("task", "agent", "seed"))
        if other := seeds.get((task, agent, seed)):
            raise UserError(f"{run.path}: the same task, agent and seed as {other.path}; one of them must go")
        seeds[task, agent, seed] = run
        other = agents.setdefault((task, agent), run)
        if (here := run.record["config_hash"]) != (there := other.record["config_hash"]):
            raise UserError(
                f"{run.path}: config_hash is {here!r}, but {there!r} in {other.path}; "
                "two configurations are two agents, and each needs a name of its own"
            )


def check_conditions(runs: Sequence[Run]) -> None:
    """Raise UserError for the first field of run.json in which two runs of a task were not evaluated alike."""
    tasks: dict[str, Run] = {}
    for run in runs:
        first = tasks.setdefault(run.record["task"], run)
        for (field, here), there in zip(_conditions(run).items(), _conditions(first).values(), strict=True):
            if here != there:
                raise UserError(f"{run.path}: {field} is {here!r}, but {there!r} in {first.path}; not comparable")


def _conditions(run: Run) -> dict[str, Any]:
    record, protocol = run.record, run.record.get("evaluation") or {}
    plain = ("task_version", "dt", "horizon_s", "discount_rate", "targets")
    return {field: record[field] for field in plain} | {
        "budget.n_steps": record["budget"]["n_steps"],
        "reference.random": record["reference"]["random"],
        "reference.reference": record["reference"]["reference"],
        "evaluation.n_evals": protocol.get("n_evals"),
        "evaluation.n_episodes": protocol.get("n_episodes"),
    }
