"""Run all tortures, or those named, and print what each measured against its figure: ``make torture``."""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.perf import Figure
from tests.torture import costs, disks, fuzz, kills, nodes

N_KILLS = 100
N_FUZZED = 1000
"""Of each kind."""


def killed(folder: Path) -> Iterator[Figure]:
    toll = kills.torture(folder, N_KILLS)
    print(f"  {dict(toll.kills)}; {toll.suites} suites completed, {toll.resumed} runs in them resumed", flush=True)
    for problem in (*toll.unreadable, *toll.different):
        print(f"  {problem}")
    yield Figure(f"finished runs lost in {toll.kills.total()} kills", toll.lost, 0, "runs")
    yield Figure("files that could not be read after one", len(toll.unreadable), 0, "files")
    yield Figure("tables unlike an undisturbed suite's", len(toll.different), 0, "files")
    yield Figure("runs that went on from a checkpoint", toll.resumed, 1, "runs", at_most=False)


def ray_nodes(folder: Path) -> Iterator[Figure]:
    counts, different = nodes.lose_a_node(folder)
    yield Figure("Ray, one node of three killed: runs left", sum(counts.values()) - counts.get("done", 0), 0, "runs")
    yield Figure("the same: tables unlike local ones", len(different), 0, "files")


def fuzzed(folder: Path) -> Iterator[Figure]:
    began = time.monotonic()
    n_cases = fuzz.fuzz(folder, N_FUZZED)  # a traceback or a changed file is raised
    print(f"  {n_cases / (time.monotonic() - began):.0f} cases/s", flush=True)
    yield Figure("fuzzed files and command lines without a traceback", n_cases, N_FUZZED, "cases", at_most=False)


def troubled_disks(folder: Path) -> Iterator[Figure]:
    for name, torture in (
        ("a full disk", disks.full_disk),
        ("a read-only folder", disks.read_only),
        ("a jumping clock", disks.clock_jump),
    ):
        (place := folder / name.replace(" ", "-")).mkdir()
        wrong = torture(place)
        for problem in wrong:
            print(f"  {problem}")
        yield Figure(f"{name}: unclear errors, losses, differences", len(wrong), 0, "problems")


def memory(folder: Path) -> Iterator[Figure]:
    growth = costs.memory_growth(folder)
    yield Figure(f"memory growth over {costs.LONG_STEPS} decisions of random", growth, 5, "%")


def checkpoints(folder: Path) -> Iterator[Figure]:
    for agent, share in costs.checkpoint_shares(folder).items():
        yield Figure(f"checkpoints every 5 s, share of a run of {agent}", share, 2, "%")


def efficiency(folder: Path) -> Iterator[Figure]:
    share = costs.efficiency(folder)
    yield Figure("two workers over two bare chains of processes, wall", share["wall"], 85, "%", at_most=False)
    yield Figure("the same, CPU time", share["cpu"], 85, "%", at_most=False)


TORTURES: tuple[Callable[[Path], Iterator[Figure]], ...] = (
    efficiency, checkpoints, memory, troubled_disks, fuzzed, ray_nodes, killed
)  # fmt: skip


def main() -> None:
    names = [torture.__name__ for torture in TORTURES]
    chosen = sys.argv[1:] or names
    if unknown := set(chosen) - set(names):
        sys.exit(f"no torture {', '.join(unknown)}; there are {', '.join(names)}")
    missed = 0
    for torture in TORTURES:
        if torture.__name__ not in chosen:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="hjbbench-torture-") as folder:
            try:
                for figure in torture(Path(folder)):
                    print(figure, flush=True)
                    missed += not figure.met
            except Exception:
                traceback.print_exc()
                print(f"{torture.__name__}: MISSED, it ended with an error", flush=True)
                missed += 1
        print(f"  {torture.__name__} took {time.monotonic() - began:.0f} s", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
