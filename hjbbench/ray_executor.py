"""Carry out runs on a Ray cluster: nodes compute and send files back, the driver alone writes results."""

from __future__ import annotations

import dataclasses
import logging
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hjbbench.checkpoint import AGENT, STATE
from hjbbench.errors import UserError
from hjbbench.executors import Listener, run_all
from hjbbench.lock import hold, release
from hjbbench.process import POLL_S, carry_out
from hjbbench.record import new_record
from hjbbench.spec import RunSpec
from hjbbench.store import clear, run_path, write_atomic, write_record, writing

LOSSES = 5
"""Times a run may lose its node before it is left interrupted: the cluster's failure is no result of the agent's."""
PROBE_S = 10.0
AT_A_TIME = 1000
"""Runs handed to Ray at once unless told otherwise; it queues what does not fit."""
Files = dict[str, bytes]


def run_ray(
    specs: Sequence[RunSpec], root: Path, address: str | None, at_a_time: int | None, listen: Listener
) -> dict[str, int]:
    """Run the specs on the cluster at ``address``, or on a local Ray of ``at_a_time`` cores that ends with them.

    Raises UserError when Ray is not installed, the address does not answer, or no node is large enough for a run.
    """
    try:
        import ray
    except ImportError:
        raise UserError("--executor ray: ray is not installed; pip install 'hjbbench[ray]'") from None
    _probe(address)
    here: dict[str, Any] = {} if address else {"num_cpus": at_a_time, "include_dashboard": False}
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **here)
    except Exception as problem:  # Ray raises plain Exceptions where a node does not start
        reason = str(problem).strip().partition("\n")[0]
        raise UserError(f"--executor ray: no Ray at {address or 'a local start'} ({reason})") from None
    try:
        return run_all(specs, partial(_carry_out, root), at_a_time or AT_A_TIME, listen)
    finally:
        ray.shutdown()


def _probe(address: str | None) -> None:
    """Raise UserError for an address nobody listens at, which Ray itself would wait for for minutes."""
    if address in (None, "auto"):
        return
    host, _, port = str(address).rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--address: {address!r} is not understood; write HOST:PORT or auto")
    try:
        socket.create_connection((host, int(port)), timeout=PROBE_S).close()
    except (OSError, OverflowError) as problem:
        raise UserError(f"--address: {address} does not answer ({problem})") from None


def _carry_out(root: Path, spec: RunSpec, stop: threading.Event) -> Iterator[dict[str, Any]]:
    """One run, begun anew from its newest checkpoint where its node is lost."""
    from ray.exceptions import RayError

    directory = run_path(root, spec.task, spec.agent, spec.seed)
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    lock = hold(directory)
    try:
        for _ in range(LOSSES):
            clear(directory)
            try:
                yield from _attempt(spec, directory, stop)
                return
            except RayError as problem:
                reason = getattr(problem, "cause", None) or problem
                loss = f"{type(reason).__name__}: {str(reason).strip().splitlines()[0]}"
        record = new_record(spec) | {"error": f"lost its node {LOSSES} times, last by {loss}"}
        write_record(directory, record)
        yield {"status": record["status"], "error": record["error"]}
    finally:
        release(directory, lock)


def _attempt(spec: RunSpec, directory: Path, stop: threading.Event) -> Iterator[dict[str, Any]]:
    """Send the run to a node, write what comes back; raises RayError when the node or its worker is lost."""
    import ray

    checkpoint = {name: (directory / name).read_bytes() for name in (AGENT, STATE) if (directory / name).exists()}
    task: Any = ray.remote(_on_node)
    stream = task.options(max_retries=0, **_demand(spec)).remote(dataclasses.asdict(spec), checkpoint)
    try:
        while not stop.is_set():
            if not ray.wait([stream], timeout=POLL_S)[0]:
                continue
            try:
                event, files = ray.get(next(stream))
            except StopIteration:
                return
            for name, content in files.items():
                if content is None:
                    (directory / name).unlink(missing_ok=True)
                else:
                    write_atomic(directory / name, content)
            yield event
    finally:
        ray.cancel(stream, force=True)


def _demand(spec: RunSpec) -> dict[str, float]:
    """What Ray has to reserve for a run; raises UserError when no node has that much."""
    import ray

    needed = spec.resources()
    demand = {"num_cpus": needed.cores, "num_gpus": needed.gpus, "memory": needed.memory_mb * 1e6}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    if not any(all(node.get(names[key], 0) >= value for key, value in demand.items()) for node in nodes):
        raise UserError(
            f"{spec.label}: no node of the cluster has {needed.cores} core(s), {needed.memory_mb:g} MB and "
            f"{needed.gpus:g} GPU"
        )
    return demand


def _on_node(spec: dict[str, Any], checkpoint: Files) -> Iterator[tuple[dict[str, Any], dict[str, bytes | None]]]:
    """On a node: carry out the run in a folder of its own; yields each event with the files that changed since."""
    with tempfile.TemporaryDirectory(prefix="hjbbench-") as folder:
        directory = Path(folder)
        for name, content in checkpoint.items():
            (directory / name).write_bytes(content)
        sent: dict[str, bytes | None] = dict(checkpoint)
        for event in carry_out(RunSpec(**spec), directory, threading.Event()):
            present = {
                path.name: path for path in directory.iterdir() if path.suffix in (".csv", ".json", ".pt", ".txt")
            }
            changed: dict[str, bytes | None] = dict.fromkeys(sent.keys() - present.keys())
            for name, path in present.items():
                content = path.read_bytes()
                if sent.get(name) != content:
                    changed[name] = content
            sent = {name: content for name, content in (sent | changed).items() if content is not None}
            yield event, changed
