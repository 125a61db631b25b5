"""A full disk, a folder that cannot be written, a clock that jumps: one clear error, and nothing lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hjbbench.store import read_runs
from tests.torture import suite

AGENTS = "random,small-sac"
KEPT_KB = 24
"""Room for a few tables, not for a checkpoint."""


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Path]:
    """A file system in memory; needs to be root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, kept_kb: int) -> Path:
    """Leave only so much room; returns the file that takes the rest."""
    filler, room = disk / "filler", os.statvfs(disk)
    filler.write_bytes(bytes(room.f_bavail * room.f_bsize - kept_kb * 1024))
    return filler


def full_disk(folder: Path, n_steps: int = 600) -> list[str]:
    """What went wrong, nothing it is hoped, when the disk fills before a suite begins and in the middle of its runs."""
    wrong: list[str] = []
    tortured = suite.write_suite(folder, n_steps, AGENTS)
    assert suite.run(tortured, folder / "undisturbed").returncode == 0
    with small_disk(folder / "disk", 8) as disk:
        out = disk / "out"
        assert suite.run(tortured, out, "--seeds", "0").returncode == 0
        before = suite.finished(out)
        for kept_kb in (0, KEPT_KB):
            filler = fill(disk, kept_kb)
            wrong += _refused(suite.run(tortured, out), "No space left|no space left")
            filler.unlink()
            if {path: path.read_bytes() for path in before} != before:
                wrong.append("a finished run was changed")
        if suite.run(tortured, out).returncode != 0:
            wrong.append("the suite does not go on when there is room again")
        if suite.results(out) != suite.results(folder / "undisturbed"):
            wrong.append("the results differ from those on a disk with room")
    return wrong


def read_only(folder: Path, n_steps: int = 100) -> list[str]:
    """The same for a folder on a file system that nothing can be written to."""
    wrong: list[str] = []
    tortured = suite.write_suite(folder, n_steps, AGENTS)
    with small_disk(folder / "disk", 8) as disk:
        out = disk / "out"
        assert suite.run(tortured, out, "--agents", "random", "--seeds", "0").returncode == 0
        before = suite.finished(out)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for target in (out, disk / "new"):
            wrong += _refused(suite.run(tortured, target, "--agents", "random"), "not writable|cannot be made")
        if suite.finished(out) != before:
            wrong.append("a finished run was changed")
    return wrong


def clock_jump(folder: Path, n_steps: int = 600) -> list[str]:
    """The same for a time of day that jumps by months at every look: the results are those of a steady clock."""
    tortured = suite.write_suite(folder, n_steps, AGENTS)
    assert suite.run(tortured, folder / "steady").returncode == 0
    jumping = suite.run(tortured, folder / "jumping", TORTURE_CLOCK="1")
    if jumping.returncode != 0:
        return [jumping.stderr]
    wrong = [] if suite.results(folder / "jumping") == suite.results(folder / "steady") else ["the results differ"]
    for run in read_runs(folder / "jumping"):
        totals = run.record["totals"]
        if not 0 < totals["t_wall_s"] + totals["t_eval_s"] < 600:
            wrong.append(f"{run.path}: {totals}")
    return wrong


def _refused(ended: subprocess.CompletedProcess[str], reason: str) -> list[str]:
    """What is wrong with a refusal: it is to be one line with one of the reasons, and exit code 2."""
    lines = ended.stderr.strip().splitlines()
    clear = ended.returncode == 2 and len(lines) == 1 and any(each in lines[0] for each in reason.split("|"))
    return [] if clear else [f"exit {ended.returncode}: {ended.stderr[-2000:] or 'no word'}"]
