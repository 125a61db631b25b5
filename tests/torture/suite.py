"""The suite that is tortured, the command that runs it, and what its results are compared by."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

from hjbbench.process import THREADS
from hjbbench.store import Run, read_runs

FAULTS = Path(__file__).parent / "faults"
AGENTS = ("random", "small-sac", "small-mbpo", "small-hjb")
TABLES = ("evals.csv", "episodes.csv")
SUITE = """
description = "small and quick, with agents that learn"
tasks = ["oracle/oscillator"]
agents = AGENTS
n_steps = { "*" = STEPS }
seeds = "0-1"
n_evals = 6
n_eval_episodes = 1
wall_limit_s = 600
checkpoint_every_s = 0.2

[variants.small-sac]
agent = "sac"
batch_size = 16
net_arch = [32, 32]

[variants.small-mbpo]
agent = "mbpo-lite"
warmup_steps = 100
updates_per_step = 1
rollouts = 200
members = 2
elites = 2
model_epochs_max = 1
hidden = [32, 32]
batch_size = 32

[variants.small-hjb]
agent = "diffusion-hjb"
width = 16
warmup_steps = 100
batch = 16
rollout_batch = 16
rollout_steps = 3
generator_members = 2
generator_batch = 16
generator_first_updates = 20
policy_first_updates = 20
"""


def write_suite(folder: Path, n_steps: int = 1500, agents: str = "*") -> Path:
    """The suite's file, of the agents whose names match."""
    path = folder / "tortured.toml"
    chosen = json.dumps([name for name in AGENTS if any(fnmatch(name, glob) for glob in agents.split(","))])
    path.write_text(SUITE.replace("STEPS", str(n_steps)).replace("AGENTS", chosen))
    return path


def command(suite: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "hjbbench.cli", "run", str(suite), "--out", str(out), "--retry-failed", *more]


def environment(**faults: str) -> dict[str, str]:
    """The processes' environment, with what tests/torture/faults is to do to them."""
    path = os.pathsep.join([str(FAULTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": path} | faults


def run(suite: Path, out: Path, *more: str, **faults: str) -> subprocess.CompletedProcess[str]:
    """One call of the command line to its end."""
    return subprocess.run(command(suite, out, *more), env=environment(**faults), capture_output=True, text=True)


def results(root: Path) -> dict[str, object]:
    """What must be equal between two results: how each run ended and its tables, the wall clock aside."""
    found: dict[str, object] = {}
    for each in read_runs(root):
        name = str(each.path.relative_to(root))
        found[name] = each.record["status"], each.record["error"], each.record["totals"]["n_updates"]
        for table in TABLES:
            if (each.path / table).exists():
                found[f"{name}/{table}"] = _without_wall_time(each.path / table)
    return found


def _without_wall_time(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return [{key: value for key, value in row.items() if key != "t_wall_s"} for row in csv.DictReader(file)]


def finished(root: Path) -> dict[Path, bytes]:
    """The files of every run that is done, byte for byte."""
    done: list[Run] = [each for each in read_runs(root) if each.record["status"] == "done"] if root.exists() else []
    return {path: path.read_bytes() for each in done for path in sorted(each.path.iterdir()) if path.is_file()}
