"""run.json of one run: what ran, on which code, versions and machine, and how it ended."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hjbbench.spec import RunSpec
from hjbbench.store import FORMAT

REPORTED = ("hjbbench", "torch", "numpy", "gymnasium", "mujoco", "highway-env", "stable-baselines3", "sb3-contrib")


def new_record(spec: RunSpec) -> dict[str, Any]:
    """run.json of a run that has not finished; raises UserError for names and settings nobody knows."""
    task, _, config = spec.resolve()
    return {
        "format": FORMAT,
        "suite": spec.suite,
        "task": spec.task,
        "agent": spec.agent,
        "variant_of": spec.variant_of,
        "seed": spec.seed,
        "status": "interrupted",
        "error": None,
        "config": dataclasses.asdict(config),
        "config_hash": spec.config_hash(),
        "task_version": task.version,
        "dt": task.dt,
        "horizon_s": task.horizon_s,
        "discount_rate": task.discount_rate,
        "budget": {"n_steps": spec.n_steps},
        "evaluation": {"n_evals": spec.n_evals, "n_episodes": spec.n_eval_episodes},
        "targets": list(task.targets),
        "reference": dataclasses.asdict(task.reference),
        "totals": {"n_steps": 0, "t_env_s": 0.0, "n_updates": 0, "t_wall_s": 0.0, "t_eval_s": 0.0},
        "peak_rss_mb": 0.0,
        "versions": versions(),
        "git_revision": git_revision(),
        "machine": machine(),
        "speed_gflops": None,
        "resumed_at_steps": [],
        "started_at": _now(),
        "finished_at": None,
    }


def close_record(record: dict[str, Any], status: str, error: str | None) -> None:
    """Mark a record as ended, in place."""
    record.update(status=status, error=error, finished_at=_now())


@cache
def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in REPORTED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def git_revision() -> str | None:
    """Commit of the checkout this package runs from, None where it is installed without one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@cache
def machine() -> dict[str, Any]:
    """What wall-clock figures depend on, but for how busy it is."""
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return {"system": platform.system(), "cpu": cpu, "n_cores": os.cpu_count()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
