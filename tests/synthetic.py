"""A folder of made-up runs, written as the harness writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hjbbench.clock import evaluation_points
from hjbbench.store import EVAL_COLUMNS, FORMAT, run_path, write_json, write_rows

BUDGET_STEPS = 10_000
RANDOM_RETURN, REFERENCE_RETURN = -1000.0, -100.0
TARGETS = (-550.0, -280.0)
DT = 0.05


def write_suite(
    root: Path,
    tasks: Iterable[str],
    agents: Mapping[str, float],
    n_seeds: int = 3,
    n_evals: int = 25,
    spread: float = 0.05,
    metrics: tuple[str, ...] = (),
) -> None:
    """Done runs of every agent on every task; ``agents`` maps a name to the score it converges to."""
    for task in tasks:
        for agent, level in agents.items():
            for seed in range(n_seeds):
                write_run(root, task, agent, seed, level=level, n_evals=n_evals, spread=spread, metrics=metrics)


def write_run(
    root: Path,
    task: str,
    agent: str,
    seed: int,
    /,
    *,
    level: float = 0.8,
    status: str = "done",
    error: str | None = None,
    n_evals: int = 25,
    n_evals_made: int | None = None,
    spread: float = 0.05,
    speed: float = 5.0,
    action_rate: float | None = None,
    metrics: tuple[str, ...] = (),
    **fields: Any,
) -> Path:
    """One run whose score rises exponentially to ``level``, ``speed`` times faster than the budget; returns its folder.

    ``n_evals_made`` cuts the run short; ``metrics`` are columns of the task's own; ``fields`` replace run.json's.
    """
    rng = np.random.default_rng([seed, *f"{task} {agent}".encode()])
    points = evaluation_points(BUDGET_STEPS, n_evals)[:n_evals_made]
    final = level + spread * rng.standard_normal()
    speed *= rng.lognormal(0.0, 0.1)
    action_rate = (2 + 8 * abs(level) if action_rate is None else action_rate) * rng.lognormal(0.0, 0.2)
    rows = []
    for n_steps in points:
        share = 1 - math.exp(-speed * n_steps / BUDGET_STEPS)
        score = final * share + 0.2 * spread * rng.standard_normal()
        mean = RANDOM_RETURN + score * (REFERENCE_RETURN - RANDOM_RETURN)
        row = dict.fromkeys(EVAL_COLUMNS[:-2], 0.0) | dict.fromkeys(metrics, share * level)
        row |= {"n_steps": n_steps, "t_env_s": n_steps * DT, "n_updates": n_steps, "t_wall_s": n_steps / 100}
        row |= {"n_episodes": 5, "return_mean": mean, "return_min": mean - 10, "return_max": mean + 10}
        rows.append(row | {"length_s_mean": 10.0, "action_rate_rms_per_s": action_rate})
    taken = points[-1] if points else 0
    record = {
        "format": FORMAT,
        "suite": "synthetic",
        "task": task,
        "agent": agent,
        "seed": seed,
        "status": status,
        "error": error,
        "config": {"learning_rate": 3e-4},
        "config_hash": "0" * 16,
        "task_version": 1,
        "dt": DT,
        "horizon_s": 10.0,
        "discount_rate": 0.2,
        "budget": {"n_steps": BUDGET_STEPS},
        "evaluation": {"n_evals": n_evals, "n_episodes": 5},
        "targets": list(TARGETS),
        "reference": {"random": RANDOM_RETURN, "reference": REFERENCE_RETURN, "provenance": "made up"},
        "totals": {
            "n_steps": taken,
            "t_env_s": taken * DT,
            "n_updates": taken,
            "t_wall_s": taken / 100,
            "t_eval_s": 1.0,
        },
        "peak_rss_mb": 100.0,
        "versions": {"python": "3.11.0", "hjbbench": "0.1.0"},
        "git_revision": "0123456789abcdef0123456789abcdef01234567",
        "machine": {"system": "Linux", "cpu": "synthetic", "n_cores": 2},
        "speed_gflops": 80.0,
        "started_at": f"2026-01-01T00:0{seed % 10}:00+00:00",
        "finished_at": f"2026-01-01T01:0{seed % 10}:00+00:00",
    }
    folder = run_path(root, task, agent, seed)
    folder.mkdir(parents=True)
    write_rows(folder / "evals.csv", (*EVAL_COLUMNS, *metrics), rows)
    write_json(folder / "run.json", record | fields)
    return folder
