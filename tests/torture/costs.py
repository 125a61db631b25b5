"""What reliability costs: the executor against bare processes, checkpoints against the run, memory over a long one."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hjbbench.executors import run_local
from hjbbench.process import THREADS, resident_mb
from hjbbench.runner import execute
from hjbbench.spec import RunSpec
from hjbbench.store import read_record

LONG_STEPS = 100_000
WARM_UP = 0.1
"""Share of a run after which its memory is taken as settled."""


def efficiency(folder: Path, n_steps: int = 1500, repetitions: int = 2) -> dict[str, float]:
    """Wall and CPU time of four runs as two bare chains of processes over those of the executor with two workers, in %.

    The least of each in turns, so that what else the machine does counts little.
    """
    specs = [RunSpec("torture", "oracle/oscillator", "sac", seed, n_steps, 5, 2, 600.0) for seed in range(4)]

    def bare(k: int) -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda i: [_bare(spec, folder / f"{k}/bare-{spec.seed}") for spec in specs[i::2]], range(2)))

    def ours(k: int) -> None:
        assert run_local(specs, folder / f"{k}/ours", 2, lambda spec, event: None) == {"done": 4}

    least = {"bare": (math.inf, math.inf), "ours": (math.inf, math.inf)}
    for k in range(repetitions):
        for name, work in (("bare", bare), ("ours", ours)):
            wall_s, cpu_s = time.monotonic(), _cpu_s()
            work(k)
            took = time.monotonic() - wall_s, _cpu_s() - cpu_s
            least[name] = min(least[name][0], took[0]), min(least[name][1], took[1])
    return {kind: 100 * least["bare"][i] / least["ours"][i] for i, kind in enumerate(("wall", "cpu"))}


def _cpu_s() -> float:
    """CPU seconds of this process and all that it has waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _bare(spec: RunSpec, directory: Path) -> None:
    """A run's process with nobody watching."""
    command = [sys.executable, "-m", "hjbbench.runner", str(directory)]
    silent, alone = subprocess.DEVNULL, os.environ | dict.fromkeys(THREADS, "1")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=silent, stderr=silent, env=alone) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(dataclasses.asdict(spec)).encode() + b"\n")
        process.stdin.flush()
        assert process.wait() == 0


def checkpoint_shares(folder: Path, every_s: float = 5.0) -> dict[str, float]:
    """Share of a run's time that its checkpoints take, in %, for agents with small and with large states.

    At a cadence many times the default's, on a task with short episodes, so that nothing but the cost limits them.
    """
    shares = {}
    for agent, n_steps in (("random", LONG_STEPS), ("sac", 3000), ("mbpo-lite", 1500), ("diffusion-hjb", 1500)):
        spec = RunSpec("torture", "control/pendulum", agent, 0, n_steps, 5, 2, 600.0, checkpoint_every_s=every_s)
        assert execute(spec, folder / agent) == "done"
        totals = read_record(folder / agent / "run.json")["totals"]
        whole = totals["t_wall_s"] + totals["t_eval_s"] + totals["t_checkpoint_s"]
        shares[agent] = 100 * totals["t_checkpoint_s"] / whole
    return shares


def memory_growth(folder: Path) -> float:
    """Growth of memory in % over a run of 100,000 decisions of the cheapest agent, the first tenth aside."""
    script = f"from pathlib import Path; from tests.torture.costs import _grow; _grow(Path({str(folder)!r}))"
    return float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


def _grow(folder: Path) -> None:
    """In a process of its own: print the growth. Episodes here are a few decisions long, so their rows are many."""
    settled: list[float] = []

    def listen(event: dict) -> None:
        if event["n_steps"] >= WARM_UP * LONG_STEPS:
            settled.append(resident_mb(os.getpid()))

    spec = RunSpec("torture", "locomotion/inverted-pendulum", "random", 0, LONG_STEPS, 25, 5, 600.0)
    assert execute(spec, folder, listen) == "done"
    print(100 * (max(settled) / settled[0] - 1))
