"""Faults from inside a process, imported by Python at its start where this folder is on the path.

TORTURE_KILL = "driver 7 half" kills the driver ("worker": a run's process) at its 7th write: with half of the file
written, or whole before or after it gets its name. TORTURE_CLOCK makes the time of day jump by months at every look.
"""

import datetime
import itertools
import os
import signal
import sys
import time

ROLES = {"driver": "hjbbench.cli", "worker": "hjbbench.runner"}


def kill_in_a_write(role: str, number: str, stage: str) -> None:
    if ROLES[role] not in sys.orig_argv:
        return
    fsync, replace = os.fsync, os.replace
    counted = itertools.count(1)

    def die() -> None:
        log = os.open(os.environ["TORTURE_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, f"{role} {number} {stage}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def broken_fsync(fd: int) -> None:
        if next(counted) == int(number):
            if stage == "half":
                os.ftruncate(fd, os.fstat(fd).st_size // 2)
            if stage != "after":
                die()
        fsync(fd)

    def broken_replace(source: str, target: str) -> None:
        replace(source, target)
        if stage == "after" and next(counted) > int(number):
            die()

    os.fsync, os.replace = broken_fsync, broken_replace


def jumping_clock() -> None:
    jumps = itertools.cycle((0.0, 9e6, -9e6, 4e7))
    now = time.time

    class Jumping(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(now() + next(jumps), tz)

    time.time = lambda: now() + next(jumps)
    datetime.datetime = Jumping


if "TORTURE_KILL" in os.environ:
    kill_in_a_write(*os.environ["TORTURE_KILL"].split())
if "TORTURE_CLOCK" in os.environ:
    jumping_clock()
