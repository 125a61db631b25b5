"""Run directories and one long table: writing is atomic, reading is strict."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hjbbench.errors import Unwritable, UserError

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
STATUSES = ("done", "diverged", "error", "timeout", "interrupted")
RECORD_FIELDS: dict[str, type | tuple[type, ...]] = {
    "suite": str, "task": str, "agent": str, "seed": int, "status": str, "error": (str, type(None)), "config": dict,
    "config_hash": str, "task_version": int, "dt": float, "horizon_s": float, "discount_rate": float, "budget": dict,
    "targets": list, "reference": dict, "totals": dict, "peak_rss_mb": float, "versions": dict,
    "git_revision": (str, type(None)), "machine": dict, "started_at": str, "finished_at": (str, type(None)),
}  # fmt: skip
OPTIONAL_FIELDS: dict[str, tuple[type, ...]] = {
    "speed_gflops": (float, type(None)), "variant_of": (str, type(None)), "evaluation": (dict,),
}  # fmt: skip
"""Fields that older runs lack."""
NAMES = {float: "a finite number"}
NESTED_FIELDS: dict[str, dict[str, type]] = {
    "budget": {"n_steps": int},
    "totals": {"n_steps": int, "t_env_s": float, "n_updates": int, "t_wall_s": float, "t_eval_s": float},
    "reference": {"random": float, "reference": float, "provenance": str},
}
EVAL_COLUMNS = (
    "n_steps", "t_env_s", "n_updates", "t_wall_s", "n_episodes",
    "return_mean", "return_std", "return_min", "return_max", "length_s_mean",
    "action_tv_per_s", "action_rate_rms_per_s", "action_jerk_rms_per_s2", "action_mean_freq_hz",
    "action_highfreq_share", "sm_caps", "success_rate", "value_error_rel_l2",
)  # fmt: skip
EPISODE_COLUMNS = ("n_steps", "t_env_s", "return", "length_s", "terminated")
RUN_COLUMNS = ("suite", "task", "agent", "seed", "status", "dt", "budget_steps")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write into Unwritable, one line that names the path and the reason."""
    try:
        yield
    except OSError as problem:
        raise Unwritable(
            f"{path}: cannot be written ({problem.strerror or problem}); nothing stored is lost, and the same command "
            "goes on once that is mended"
        ) from None


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file in one step: a reader, or a kill at any moment, sees the old content or the new one.

    Raises Unwritable, and leaves the old file alone, when the disk is full or the folder read-only.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            with open(temporary, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1) + "\n")


def write_record(directory: Path, record: Mapping[str, Any]) -> None:
    """Write run.json with checksums: its own, and those of the tables beside it when the run has ended."""
    ended = record.get("finished_at") is not None
    tables = [path for path in sorted(directory.glob("*.csv")) if ended]
    stored = dict(record) | {"sha256": {path.name: sha256(path.read_bytes()).hexdigest() for path in tables}}
    stored["sha256"]["run.json"] = record_digest(stored)
    write_json(directory / "run.json", stored)


def record_digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record without its own checksum, as JSON with sorted keys and no spaces."""
    others = {name: digest for name, digest in record["sha256"].items() if name != "run.json"}
    text = json.dumps(dict(record) | {"sha256": others}, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write dictionaries as CSV; a value that is None or absent is an empty field."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, buffer.getvalue())


def clear(directory: Path) -> None:
    """Remove an earlier attempt's tables and what a kill left of files half written; checkpoints stay."""
    for stale in (*directory.glob("*.csv"), *directory.glob("*.*.*.tmp")):
        stale.unlink()


def run_path(root: Path, task: str, agent: str, seed: int) -> Path:
    """Where a run lies below its suite's folder."""
    return root / task / agent / f"seed-{seed:02d}"


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
        frame = self._read_csv(path)
        if list(frame.columns[: len(EVAL_COLUMNS)]) != list(EVAL_COLUMNS):
            lacking = [name for name in EVAL_COLUMNS if name not in frame.columns]
            raise UserError(f"{path}: columns must start with {EVAL_COLUMNS[0]},...; missing {lacking or 'none'}")
        if frame.empty:  # failed before its first evaluation; columns without a value have no type of their own
            return frame.astype(float)
        text = [name for name in EVAL_COLUMNS if not pd.api.types.is_numeric_dtype(frame[name])]
        if text:
            raise UserError(f"{path}: column {text[0]} must hold numbers")
        return frame

    def _read_csv(self, path: Path) -> pd.DataFrame:
        import pandas as pd

        try:
            content = path.read_bytes()
            expected = self.record.get("sha256", {}).get(path.name)
            if expected not in (None, sha256(content).hexdigest()):
                raise UserError(f"{path}: checksum differs from the one in run.json: damaged, or changed by hand")
            return pd.read_csv(io.BytesIO(content))
        except (OSError, ValueError, pd.errors.ParserError) as problem:
            if isinstance(problem, UserError):
                raise
            raise UserError(f"{path}: not a readable CSV ({problem})") from None

    @cached_property
    def diagnostics(self) -> pd.DataFrame | None:
        """diagnostics.csv, what the agent recorded about itself; None where it recorded nothing."""
        path = self.path / "diagnostics.csv"
        return self._read_csv(path) if path.exists() else None

    @cached_property
    def dt_sweep(self) -> pd.DataFrame | None:
        """dt_sweep.csv, one row per control interval the final policy was evaluated at; None where none was swept."""
        path = self.path / "dt_sweep.csv"
        if not path.exists():
            return None
        frame = self._read_csv(path)
        if not {"dt_factor", "return_mean"} <= set(frame.columns):
            raise UserError(f"{path}: columns dt_factor and return_mean are needed")
        return frame


def read_record(path: Path) -> dict[str, Any]:
    """run.json, checked field by field; raises UserError naming the file and what is wrong."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UserError(f"{path}: not readable as JSON ({problem})") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise UserError(f"{path}: format must be {FORMAT}; not a run of this version of hjbbench")
    _check_fields(path, record, RECORD_FIELDS)
    _check_fields(path, record, {name: kind for name, kind in OPTIONAL_FIELDS.items() if name in record})
    protocol = record.get("evaluation", {})
    _check_fields(path, protocol, dict.fromkeys({"n_evals", "n_episodes"} & protocol.keys(), int), "evaluation.")
    for name, fields in NESTED_FIELDS.items():
        _check_fields(path, record[name], fields, f"{name}.")
    targets = {f"targets[{k}]": target for k, target in enumerate(record["targets"])}
    _check_fields(path, targets, dict.fromkeys(targets, float))
    if record["reference"]["reference"] == record["reference"]["random"]:
        raise UserError(f"{path}: reference.reference equals reference.random, so no score is defined")
    if not record["dt"] > 0:
        raise UserError(f"{path}: dt is {record['dt']!r}, must be above 0")
    if record["status"] not in STATUSES:
        raise UserError(f"{path}: status is {record['status']!r}, must be one of {', '.join(STATUSES)}")
    if "sha256" in record and (
        not isinstance(record["sha256"], dict) or record["sha256"].get("run.json") != record_digest(record)
    ):
        raise UserError(f"{path}: checksum differs from the one it holds: damaged, or changed by hand")
    return record


def _check_fields(path: Path, values: Mapping[str, Any], kinds: Mapping[str, Any], where: str = "") -> None:
    """Raise UserError for the first field that is missing, of another type, or no finite number where one is due."""
    for field, expected in kinds.items():
        if field not in values:
            raise UserError(f"{path}: field {where + field!r} is missing")
        value = values[field]
        allowed = expected if isinstance(expected, tuple) else (expected,)
        fits = isinstance(value, (*allowed, int) if float in allowed else allowed) and not isinstance(value, bool)
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            raise UserError(
                f"{path}: field {where + field!r} is {value!r}, must be {NAMES.get(allowed[0], allowed[0].__name__)}"
            )


def read_run(directory: Path) -> Run | None:
    """The run in a directory, or None where there is none yet."""
    path = directory / "run.json"
    return Run(directory, read_record(path)) if path.exists() else None


def read_runs(root: Path) -> list[Run]:
    """Every run below a folder, in the order of their paths; raises UserError for a folder that does not exist."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of results")
    return [Run(path.parent, read_record(path)) for path in sorted(root.rglob("run.json"))]


def read_together(roots: Sequence[Path]) -> list[list[Run]]:
    """The runs of each of several folders; raises UserError where two of them have the same agent on the same task.

    Their budgets or control intervals need not be the same, and runs of different ones must not be averaged.
    """
    owner: dict[tuple[str, str], Path] = {}
    together = [read_runs(root) for root in roots]
    for root, runs in zip(roots, together, strict=True):
        for run in runs:
            cell = run.record["task"], run.record["agent"]
            if owner.setdefault(cell, root) != root:
                raise UserError(
                    f"{root}: has {cell[1]} on {cell[0]}, as {owner[cell]} has; each may be in one folder only"
                )
    return together


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
