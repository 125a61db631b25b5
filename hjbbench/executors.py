"""Carry out many runs: one operating-system process each, so that none can take the others down."""

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
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hjbbench.runner import close_record, new_record
from hjbbench.spec import RunSpec
from hjbbench.store import LOCK, read_record, run_path, write_json

SINGLE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
Listener = Callable[[RunSpec, dict[str, Any]], None]


def run_local(specs: Iterable[RunSpec], root: Path, workers: int, listen: Listener) -> dict[str, int]:
    """Run the specs on this machine, ``workers`` at a time; returns how many ended with each status.

    ``listen(spec, event)`` hears "started", evaluations and the final "status" of every run, in this thread. On Ctrl-C
    the running ones are stopped and marked interrupted; KeyboardInterrupt goes on to the caller.
    """
    waiting = deque(specs)
    events: queue.Queue[tuple[_Process, dict[str, Any] | None]] = queue.Queue()
    running: list[_Process] = []
    counts: dict[str, int] = {}

    def end(process: _Process, status: str | None, error: str | None) -> None:
        running.remove(process)
        final = process.close(status, error)
        counts[final["status"]] = counts.get(final["status"], 0) + 1
        listen(process.spec, {"status": final["status"], "error": final["error"]})

    try:
        while waiting or running:
            while waiting and len(running) < workers:
                spec = waiting.popleft()
                running.append(_Process(spec, run_path(root, spec.task, spec.agent, spec.seed), events))
                listen(spec, {"started": True})
            for process in [each for each in running if each.overdue]:
                process.kill()
                end(process, "timeout", f"stopped at the wall limit of {process.spec.wall_limit_s:g} s")
            try:
                process, event = events.get(timeout=0.2)
            except queue.Empty:
                continue
            if process not in running:
                continue
            if event is None:
                end(process, None, None)
            elif "status" not in event:
                listen(process.spec, event)
    except BaseException:
        for process in list(running):
            process.kill()
            process.close("interrupted", "stopped by the user")
        raise
    return counts


class _Process:
    """One run's process; its events arrive on a queue, None when its output ends."""

    def __init__(self, spec: RunSpec, directory: Path, events: queue.Queue) -> None:
        self.spec = spec
        self.directory = directory
        self.deadline = time.monotonic() + spec.wall_limit_s
        directory.mkdir(parents=True, exist_ok=True)
        # A run that dies before it can say so must not leave the record of an earlier one standing.
        write_json(directory / "run.json", new_record(spec))
        self._log = open(directory / "log.txt", "wb")  # noqa: SIM115  closed in close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hjbbench.runner", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | SINGLE_THREAD,
            start_new_session=True,  # Ctrl-C reaches the driver alone, which then ends its runs
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(dataclasses.asdict(spec)) + "\n")
        self._process.stdin.flush()  # and stays open: its end tells the child that the driver is gone
        threading.Thread(target=self._read, args=(events,), daemon=True).start()

    @property
    def overdue(self) -> bool:
        return time.monotonic() > self.deadline

    def _read(self, events: queue.Queue) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                events.put((self, json.loads(line)))
            except ValueError:  # a child killed in the middle of a line
                continue
        events.put((self, None))

    def kill(self) -> None:
        """End the process and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self, status: str | None, error: str | None) -> dict[str, Any]:
        """Wait for the end and return the final record; a run that could not write its own status gets one here."""
        code = self._process.wait()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for stream in (self._process.stdin, self._process.stdout, self._log):
            stream.close()
        (self.directory / LOCK).unlink(missing_ok=True)
        path = self.directory / "run.json"
        record = read_record(path)
        if record["finished_at"] is None:
            cause = f"killed by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exited with code {code}"
            close_record(record, status or "error", error or f"the run's process was {cause}; see log.txt")
            write_json(path, record)
        log = self.directory / "log.txt"
        if record["status"] == "done" or log.stat().st_size == 0:
            log.unlink(missing_ok=True)
        return record
