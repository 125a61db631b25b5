"""One process at a time in a run's directory or a suite's folder, however that process ends."""

from __future__ import annotations

import fcntl
import os
import platform
from pathlib import Path
from typing import IO

from hjbbench.errors import UserError
from hjbbench.store import writing

LOCK = "running.lock"


def hold(directory: Path) -> IO[str]:
    """Lock a run's directory for as long as the returned file is open or its process lives, however that ends.

    A suite's folder is locked in the same way while a driver is at work in it. Raises UserError when another process
    holds the lock.
    """
    path = directory / LOCK
    with writing(path):
        lock = open(path, "a+", encoding="utf-8")  # noqa: SIM115  open is held
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read(100).strip()
        lock.close()
        raise UserError(f"{directory}: another process is at work here ({holder or 'unnamed'})") from None
    if not path.exists() or not os.path.samestat(os.fstat(lock.fileno()), path.stat()):
        lock.close()  # its last holder removed the file just now
        return hold(directory)
    with writing(path):
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {platform.node()}")
        lock.flush()
    return lock


def release(directory: Path, lock: IO[str]) -> None:
    """End what ``hold`` began."""
    (directory / LOCK).unlink(missing_ok=True)
    lock.close()


def is_held(directory: Path) -> bool:
    """Whether a living process is carrying out the run of this directory."""
    try:
        with open(directory / LOCK, "r+", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock, or a folder that nobody here can work in
        return False
    return False
