"""One run in an operating-system process of its own, with hard limits on its time and memory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hjbbench.errors import Unwritable
from hjbbench.lock import LOCK
from hjbbench.record import close_record, new_record
from hjbbench.spec import RunSpec
from hjbbench.store import read_record, write_record, writing

THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip
POLL_S = 0.2
ENDING_S = 10.0
"""What a process may take to end once it has closed its output."""


def carry_out(spec: RunSpec, directory: Path, stop: threading.Event) -> Iterator[dict[str, Any]]:
    """Carry out a run and yield its events: "started", progress, and last its "status" and "error".

    A run that crashes, hangs or leaks is a status in its run.json, as one that raises is. When ``stop`` is set, or the
    iterator is closed, the run is killed and stays interrupted. Raises Unwritable when the disk is at fault.
    """
    process = _Process(spec, directory)
    status: str | None = "interrupted"
    error = None
    try:
        yield {"started": True}
        while not stop.is_set():
            if excess := process.excess():
                status, error = excess
                break
            try:
                event = process.events.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if event is None:
                status = None  # it has ended by itself and said how, or its exit code will
                break
            if "unwritable" in event:
                raise Unwritable(event["unwritable"])
            process.deadline -= event.pop("spent_s", 0.0)
            if "status" not in event:
                yield event
    finally:
        record = process.close(status, error)
    yield {"status": record["status"], "error": record["error"]}


class _Process:
    """The process and its end of the pipes; ``events`` are what it says, then None."""

    def __init__(self, spec: RunSpec, directory: Path) -> None:
        self.directory = directory
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._wall_limit_s = spec.wall_limit_s
        self._resources = spec.resources()
        self.deadline = time.monotonic() + spec.wall_limit_s
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            self._log = open(directory / "log.txt", "wb")  # noqa: SIM115  closed in close()
        # A run that dies before it can say so must not leave the record of an earlier one standing.
        write_record(directory, new_record(spec))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hjbbench.runner", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | dict.fromkeys(THREADS, str(self._resources.cores)),
            start_new_session=True,  # Ctrl-C reaches the driver alone, which then ends its runs
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead already, and its exit code says how
            self._process.stdin.write(json.dumps(dataclasses.asdict(spec)) + "\n")
            self._process.stdin.flush()  # and stays open: its end tells the child that the driver is gone
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):  # a child killed in the middle of a line
                self.events.put(json.loads(line))
        self.events.put(None)

    def excess(self) -> tuple[str, str] | None:
        """Status and reason when the run has exceeded a limit."""
        if time.monotonic() > self.deadline:
            return "timeout", f"stopped at the wall limit of {self._wall_limit_s:g} s"
        if resident_mb(self._process.pid) > self._resources.memory_mb:
            return "error", f"stopped at the memory limit of {self._resources.memory_mb:g} MB"
        return None

    def close(self, status: str | None, error: str | None) -> dict[str, Any]:
        """End the process and whatever it started; returns the final record.

        A run that could not write its own status gets one here; of an interrupted one the disk says so already.
        """
        if status is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(ENDING_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._log.close()
        (self.directory / LOCK).unlink(missing_ok=True)
        record = read_record(self.directory / "run.json")
        if record["finished_at"] is None and status != "interrupted":
            cause = f"killed by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exited with code {code}"
            close_record(record, status or "error", error or f"the run's process was {cause}; see log.txt")
            write_record(self.directory, record)
        log = self.directory / "log.txt"
        if record["status"] == "done" or log.stat().st_size == 0:
            log.unlink(missing_ok=True)
        return record


def resident_mb(pid: int) -> float:
    """Memory a process has in use, in units of 10^6 bytes; 0 where the system does not tell or it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
