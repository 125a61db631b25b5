"""kill -9 at random: the driver, its runs, from outside at any time and from inside in the middle of a write."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hjbbench.errors import UserError
from hjbbench.lock import is_held
from hjbbench.store import read_runs
from tests.torture import suite

STEPS = 300
HANGS_S = 900.0


@dataclass
class Toll:
    """What the kills have cost."""

    kills: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    """Finished runs that were changed or gone."""
    unreadable: list[str] = field(default_factory=list)
    resumed: int = 0
    """Runs that went on from a checkpoint."""
    suites: int = 0
    different: list[str] = field(default_factory=list)
    """Files of completed suites that differ from an undisturbed one's."""


def torture(folder: Path, n_kills: int, seed: int = 0, n_steps: int = STEPS, agents: str = "*") -> Toll:
    """Kill until the count is reached, starting the suite anew whenever it completes; the last one is left in peace."""
    rng, toll = random.Random(seed), Toll()
    tortured = suite.write_suite(folder, n_steps, agents)
    began = time.monotonic()
    assert suite.run(tortured, folder / "undisturbed").returncode == 0
    patience_s = (time.monotonic() - began) / 24  # some kills find a run starting, some learning, some ending
    expected = suite.results(folder / "undisturbed")
    out = folder / "out"
    while toll.kills.total() < n_kills:
        before = suite.finished(out)
        _one_driver(tortured, out, rng, toll, n_kills, patience_s)
        _examine(out, before, toll)
        if len(suite.finished(out)) and _complete(out, expected):
            _compare(out, expected, toll)
            shutil.rmtree(out)
    if out.exists():
        assert suite.run(tortured, out).returncode == 0
        _compare(out, expected, toll)
    return toll


def _one_driver(tortured: Path, out: Path, rng: random.Random, toll: Toll, n_kills: int, patience_s: float) -> None:
    """Run the suite until the driver is killed or done, and kill whatever chance picks meanwhile."""
    log = out.with_name("kills.log")
    log.write_text("")
    faults = {"TORTURE_LOG": str(log)}
    if rng.random() < 0.5:
        role, stage = rng.choice(("driver", "worker", "worker")), rng.choice(("half", "before", "after"))
        faults["TORTURE_KILL"] = f"{role} {rng.randint(1, 4 if role == 'driver' else 25)} {stage}"
    driver = subprocess.Popen(
        suite.command(tortured, out), env=suite.environment(**faults), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + HANGS_S
    at_once = rng.random() < 0.1
    while not at_once and driver.poll() is None and not is_held(out):
        time.sleep(0.05)
    while driver.poll() is None and toll.kills.total() + len(log.read_text().splitlines()) < n_kills:
        assert time.monotonic() < deadline, "the driver hangs"
        time.sleep(rng.uniform(0.0, patience_s))
        victim = rng.choice([driver.pid, *_children(driver.pid)])
        if driver.poll() is None:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            toll.kills["driver" if victim == driver.pid else "run"] += 1
    driver.kill()
    _, errors = driver.communicate()
    toll.kills.update(f"{line.split()[0]} in a write" for line in log.read_text().splitlines())
    if b"Traceback" in errors:
        toll.unreadable.append(errors.decode())


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, thread.read_text().split())
    return found


def _examine(out: Path, before: dict[Path, bytes], toll: Toll) -> None:
    """Everything on disk can be read, and what was finished before is as it was."""
    now = {path: path.read_bytes() for path in before if path.exists()}
    toll.lost += len({path.parent for path, content in before.items() if now.get(path) != content})
    try:
        for run in read_runs(out) if out.exists() else ():
            _ = run.evals
    except UserError as problem:
        toll.unreadable.append(str(problem))


def _complete(out: Path, expected: dict[str, object]) -> bool:
    found = suite.results(out)
    return all(found.get(name, ("",))[0] == "done" for name, value in expected.items() if isinstance(value, tuple))


def _compare(out: Path, expected: dict[str, object], toll: Toll) -> None:
    found = suite.results(out)
    toll.suites += 1
    toll.resumed += sum(bool(run.record["resumed_at_steps"]) for run in read_runs(out))
    toll.different += [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
