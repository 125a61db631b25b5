"""A folder of runs against a plan: what is finished, what must be done, what stands in the way."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from statistics import median
from typing import Any

from hjbbench.errors import UserError
from hjbbench.lock import hold, is_held, release
from hjbbench.planning import load_suite, plan, suite_names
from hjbbench.registry import get_task
from hjbbench.spec import RunSpec
from hjbbench.store import Run, read_run, read_runs, run_path, write_json

PLAN = "plan.json"
RETRIED = ("error", "timeout")
ORPHAN_S = 10.0
"""How long the processes of a killed driver may take to notice."""


def pending(specs: Sequence[RunSpec], root: Path, replace: bool, retry_failed: bool) -> list[RunSpec]:
    """The runs of a plan that have no result in the folder yet.

    A failed run is a result. Raises UserError when a finished run has another configuration (unless ``replace``), when
    the folder is another suite's, and for a broken file; nothing is overwritten by these.
    """
    _check_suite(specs, root)
    todo, unlike = [], []
    for spec in specs:
        run = read_run(run_path(root, spec.task, spec.agent, spec.seed))
        if run is not None and not _left_alone(run.path):
            raise UserError(f"{run.path}: another process is carrying out this run")
        if run is None or run.record["status"] == "interrupted":
            todo.append(spec)
        elif difference := _difference(spec, run):
            unlike.append(f"{run.path}: {difference}")
            todo.append(spec)
        elif retry_failed and run.record["status"] in RETRIED:
            todo.append(spec)
    if unlike and not replace:
        more = f" (and {len(unlike) - 1} more)" if len(unlike) > 1 else ""
        raise UserError(f"{unlike[0]}{more}; choose another --out, or --replace what is there")
    return todo


def _check_suite(specs: Sequence[RunSpec], root: Path) -> None:
    """Keep suites apart: a folder that holds runs of two cannot be reported."""
    there = {run.record["suite"] for run in read_runs(root)}
    for wanted in {spec.suite for spec in specs}:
        if others := sorted(there - {wanted}):
            raise UserError(f"--out: {root} holds runs of suite {others[0]!r}; suite {wanted!r} needs another folder")


def _left_alone(directory: Path) -> bool:
    """Whether nobody carries out this run, now or as soon as a driver killed just now has taken its processes along."""
    deadline = time.monotonic() + ORPHAN_S
    while is_held(directory) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not is_held(directory)


def _difference(spec: RunSpec, run: Run) -> str | None:
    """What makes a stored run another one than the spec asks for, or None."""
    if run.record["task_version"] != get_task(spec.task).version:
        return f"task_version is {run.record['task_version']}, now {get_task(spec.task).version}"
    if run.record["config_hash"] == spec.config_hash():
        return None
    if (stored := run.record["budget"].get("n_steps")) != spec.n_steps:
        return f"budget is {stored} steps, now {spec.n_steps}"
    _, _, config = spec.resolve()
    now = json.loads(json.dumps(asdict(config)))
    changed = [key for key in {**now, **run.record["config"]} if now.get(key) != run.record["config"].get(key)]
    if changed:
        key = changed[0]
        return f"{spec.agent}.{key} is {run.record['config'].get(key)!r}, now {now.get(key)!r}"
    return "the evaluation protocol or dt is another"


@contextmanager
def at_work(root: Path) -> Iterator[None]:
    """Make the folder and keep other drivers out of it; raises UserError when that cannot be done."""
    _check_writable(root)
    lock = hold(root)
    for left in root.glob(f"{PLAN}.*.tmp"):
        left.unlink()
    try:
        yield
    finally:
        release(root, lock)


def _check_writable(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise UserError(f"--out: {root} is a file, must be a folder")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"--out: {root} cannot be made ({problem.strerror})") from None
    if not os.access(root, os.W_OK):
        raise UserError(f"--out: {root} is not writable")


def save_plan(specs: Sequence[RunSpec], root: Path) -> None:
    """Remember which runs of a suite file belong in the folder, together with those of earlier calls."""
    cells = {_key(cell): cell for cell in read_plan(root)}
    for spec in specs:
        cell = {"task": spec.task, "agent": spec.agent, "seed": spec.seed, "n_steps": spec.n_steps}
        cells[_key(cell)] = cell
    write_json(root / PLAN, list(cells.values()))


def read_plan(root: Path) -> list[dict[str, Any]]:
    """The cells of suite files planned so far; empty where no plan was saved."""
    path = root / PLAN
    if not path.exists():
        return []
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))
        for cell in cells:
            for name, kind in (("task", str), ("agent", str), ("seed", int), ("n_steps", int)):
                if not isinstance(cell[name], kind):
                    raise TypeError(f"{name} is {cell[name]!r}")
    except (ValueError, TypeError, KeyError) as problem:
        raise UserError(f"{path}: not a plan ({problem!r})") from None
    return cells


def _planned(runs: Sequence[Run], root: Path) -> dict[tuple[str, str, int], int]:
    """Decisions of every run that belongs in the folder, by its cell.

    A shipped suite is known in full by its name, an optional task of it once that has been begun; what belongs to a
    suite file stands in the folder's plan, and whatever is there belongs there.
    """
    suites = {run.record["suite"] for run in runs}
    shipped = suites.intersection(suite_names())
    cells = {}
    if not suites or suites - shipped:
        cells = {_key(cell): cell["n_steps"] for cell in read_plan(root)}
    tasks = sorted({run.record["task"] for run in runs})
    for suite in map(load_suite, shipped):
        begun = [task for task in tasks if any(fnmatch(task, glob) for glob in suite.optional_tasks)]
        specs, _ = plan(dataclasses.replace(suite, tasks=[*suite.tasks, *begun]))
        cells |= {(spec.task, spec.agent, spec.seed): spec.n_steps for spec in specs}
    return cells | {_key(run.record): run.record["budget"]["n_steps"] for run in runs}


def _key(cell: dict[str, Any]) -> tuple[str, str, int]:
    return cell["task"], cell["agent"], cell["seed"]


@dataclass
class Status:
    """How far a folder is: runs per state, the ones to look at, and the work left."""

    counts: dict[str, int] = field(default_factory=dict)
    failed: list[dict[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    left_h: float | None = None
    """Hours of a single worker; None before anything has finished."""


def status(root: Path) -> Status:
    """Compare the folder's runs with what belongs there; raises UserError for a missing folder or a broken file."""
    found = read_runs(root)
    runs: dict[tuple[str, str, int], Run] = {_key(run.record): run for run in found}
    report = Status()
    left_s, pace = 0.0, _seconds_per_step(found)
    for key, n_steps in _planned(found, root).items():
        label = f"{key[0]} {key[1]} seed {key[2]}"
        run = runs.get(key)
        state = "missing" if run is None else run.record["status"]
        if run is not None and state == "interrupted" and is_held(run.path):
            state = "running"
        report.counts[state] = report.counts.get(state, 0) + 1
        if state in ("missing", "interrupted"):
            report.missing.append(label)
        elif state == "running":
            report.running.append(label)
        elif state != "done" and run is not None:
            report.failed.append({"run": label, "status": state, "error": run.record["error"] or ""})
        if state in ("missing", "interrupted", "running") and pace:
            left_s += n_steps * pace.get(key[1], median(pace.values()))
    if pace or not (report.missing or report.running):
        report.left_h = left_s / 3600
    return report


def _seconds_per_step(runs: list[Run]) -> dict[str, float]:
    """Median wall seconds per decision by agent, evaluation included, over what has finished."""
    paces: dict[str, list[float]] = {}
    for run in runs:
        totals = run.record["totals"]
        if run.record["status"] == "done" and totals["n_steps"]:
            paces.setdefault(run.record["agent"], []).append(
                (totals["t_wall_s"] + totals["t_eval_s"]) / totals["n_steps"]
            )
    return {name: median(values) for name, values in paces.items()}
