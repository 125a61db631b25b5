"""Run directories and one long table: writing is atomic, reading is strict."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hjbbench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
LOCK = "running.lock"
STATUSES = ("done", "diverged", "error", "timeout", "interrupted")
RECORD_FIELDS: dict[str, type | tuple[type, ...]] = {
    "suite": str, "task": str, "agent": str, "seed": int, "status": str, "error": (str, type(None)), "config": dict,
    "config_hash": str, "task_version": int, "dt": float, "horizon_s": float, "discount_rate": float, "budget": dict,
    "targets": list, "reference": dict, "totals": dict, "peak_rss_mb": float, "versions": dict,
    "git_revision": (str, type(None)), "machine": dict, "started_at": str, "finished_at": (str, type(None)),
}  # fmt: skip
EVAL_COLUMNS = (
    "n_steps", "t_env_s", "n_updates", "t_wall_s", "n_episodes",
    "return_mean", "return_std", "return_min", "return_max", "length_s_mean",
    "action_tv_per_s", "action_rate_rms_per_s", "action_jerk_rms_per_s2", "action_mean_freq_hz",
    "action_highfreq_share", "sm_caps", "success_rate", "value_error_rel_l2",
)  # fmt: skip
EPISODE_COLUMNS = ("n_steps", "t_env_s", "return", "length_s", "terminated")
RUN_COLUMNS = ("suite", "task", "agent", "seed", "status", "dt", "budget_steps")


def write_atomic(path: Path, text: str) -> None:
    """Replace a file in one step: a reader, or a kill at any moment, sees the old text or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1) + "\n")


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write dictionaries as CSV; a value that is None or absent is an empty field."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, buffer.getvalue())


def run_path(root: Path, task: str, agent: str, seed: int) -> Path:
    """Where a run lies below its suite's folder."""
    return root / task / agent / f"seed-{seed:02d}"


def hold(directory: Path) -> IO[str]:
    """Lock a run's directory for as long as the returned file is open or its process lives, however that ends.

    Raises UserError when another process holds it.
    """
    lock = open(directory / LOCK, "w", encoding="utf-8")  # noqa: SIM115  open is held
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise UserError(f"{directory}: another process is carrying out this run") from None
    return lock


def is_held(directory: Path) -> bool:
    """Whether a living process is carrying out the run of this directory."""
    try:
        with open(directory / LOCK, "r+", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@dataclass(frozen=True)
class Run:
    """One run as read back: its directory, its run.json, and its evaluations as a table on demand."""

    path: Path
    record: dict[str, Any]

    def score(self, returns: Any) -> Any:
        """Normalised score of a return, or a column of them: 0 is the task's lower anchor, 1 its reference."""
        anchors = self.record["reference"]
        return (returns - anchors["random"]) / (anchors["reference"] - anchors["random"])

    @cached_property
    def evals(self) -> pd.DataFrame:
        """evals.csv as a frame; a run that failed before its first evaluation has no rows."""
        import pandas as pd

        path = self.path / "evals.csv"
        if not path.exists():
            return pd.DataFrame({name: pd.Series(dtype=float) for name in EVAL_COLUMNS})
        frame = _read_csv(path)
        if list(frame.columns[: len(EVAL_COLUMNS)]) != list(EVAL_COLUMNS):
            lacking = [name for name in EVAL_COLUMNS if name not in frame.columns]
            raise UserError(f"{path}: columns must start with {EVAL_COLUMNS[0]},...; missing {lacking or 'none'}")
        if frame.empty:  # failed before its first evaluation; columns without a value have no type of their own
            return frame.astype(float)
        text = [name for name in EVAL_COLUMNS if not pd.api.types.is_numeric_dtype(frame[name])]
        if text:
            raise UserError(f"{path}: column {text[0]} must hold numbers")
        return frame

    @cached_property
    def diagnostics(self) -> pd.DataFrame | None:
        """diagnostics.csv, what the agent recorded about itself; None where it recorded nothing."""
        path = self.path / "diagnostics.csv"
        return _read_csv(path) if path.exists() else None

    @cached_property
    def dt_sweep(self) -> pd.DataFrame | None:
        """dt_sweep.csv, one row per control interval the final policy was evaluated at; None where none was swept."""
        path = self.path / "dt_sweep.csv"
        if not path.exists():
            return None
        frame = _read_csv(path)
        if not {"dt_factor", "return_mean"} <= set(frame.columns):
            raise UserError(f"{path}: columns dt_factor and return_mean are needed")
        return frame


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path)
    except (ValueError, pd.errors.ParserError) as problem:
        raise UserError(f"{path}: not a readable CSV ({problem})") from None


def read_record(path: Path) -> dict[str, Any]:
    """run.json, checked field by field; raises UserError naming the file and what is wrong."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UserError(f"{path}: not readable as JSON ({problem})") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise UserError(f"{path}: format must be {FORMAT}; not a run of this version of hjbbench")
    for field, kind in RECORD_FIELDS.items():
        if field not in record:
            raise UserError(f"{path}: field {field!r} is missing")
        value = record[field]
        allowed = kind if isinstance(kind, tuple) else (kind,)
        if isinstance(value, bool) or not isinstance(value, (*allowed, int) if float in allowed else allowed):
            raise UserError(f"{path}: field {field!r} is {value!r}, must be {allowed[0].__name__}")
    if record["status"] not in STATUSES:
        raise UserError(f"{path}: status is {record['status']!r}, must be one of {', '.join(STATUSES)}")
    return record


def read_run(directory: Path) -> Run | None:
    """The run in a directory, or None where there is none yet."""
    path = directory / "run.json"
    return Run(directory, read_record(path)) if path.exists() else None


def read_runs(root: Path) -> list[Run]:
    """Every run below a folder, in the order of their paths; raises UserError for a folder that does not exist."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of results")
    return [Run(path.parent, read_record(path)) for path in sorted(root.rglob("run.json"))]


def frame(runs: Iterable[Run]) -> pd.DataFrame:
    """One row per evaluation of every run: RUN_COLUMNS, EVAL_COLUMNS, then the tasks' own columns.

    A run without evaluations has no row here; count runs on the records, not on this frame.
    """
    import pandas as pd

    parts = []
    for run in runs:
        evals = run.evals.copy()
        for position, name in enumerate(RUN_COLUMNS):
            value = run.record["budget"]["n_steps"] if name == "budget_steps" else run.record[name]
            evals.insert(position, name, value)
        parts.append(evals)
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*RUN_COLUMNS, *EVAL_COLUMNS])
