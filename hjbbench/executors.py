"""Carry out many runs at a time, wherever each of them is carried out."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hjbbench.process import carry_out
from hjbbench.spec import RunSpec
from hjbbench.store import run_path

Listener = Callable[[RunSpec, dict[str, Any]], None]
CarryOut = Callable[[RunSpec, threading.Event], Iterator[dict[str, Any]]]
"""(spec, stop) -> the run's events, the last of which has its "status"; ends early when ``stop`` is set."""


def run_all(specs: Sequence[RunSpec], carry_out: CarryOut, at_a_time: int, listen: Listener) -> dict[str, int]:
    """Carry out the specs, so many at a time; returns how many ended with each status.

    ``listen(spec, event)`` hears all events of all runs, in this thread. Whatever is raised here or there, Ctrl-C
    included, stops the runs that are going on, leaves them interrupted and goes on to the caller.
    """
    heard: queue.Queue[tuple[RunSpec, dict[str, Any] | BaseException]] = queue.Queue()
    stop = threading.Event()

    def work(spec: RunSpec) -> None:
        try:
            for event in () if stop.is_set() else carry_out(spec, stop):
                heard.put((spec, event))
        except BaseException as problem:
            heard.put((spec, problem))

    counts: dict[str, int] = {}
    pool = ThreadPoolExecutor(max(1, min(at_a_time, len(specs))))
    try:
        for spec in specs:
            pool.submit(work, spec)
        while sum(counts.values()) < len(specs):
            spec, event = heard.get()
            if isinstance(event, BaseException):
                raise event
            if "status" in event:
                counts[event["status"]] = counts.get(event["status"], 0) + 1
            listen(spec, event)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    return counts


def run_local(specs: Sequence[RunSpec], root: Path, workers: int, listen: Listener) -> dict[str, int]:
    """Run the specs on this machine, one process each, ``workers`` at a time."""

    def here(spec: RunSpec, stop: threading.Event) -> Iterator[dict[str, Any]]:
        return carry_out(spec, run_path(root, spec.task, spec.agent, spec.seed), stop)

    return run_all(specs, here, workers, listen)
