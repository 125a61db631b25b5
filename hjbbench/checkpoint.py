"""A run in the middle: what the harness keeps on disk so that a killed run goes on as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
import zipfile
from pathlib import Path
from typing import Any

from hjbbench.protocol import Agent
from hjbbench.store import write_atomic, writing

AGENT, STATE = "checkpoint.pt", "checkpoint.json"
COST_SHARE = 0.01
"""Most of a run's time that checkpoints may take; where one is slow they become rarer."""


class Checkpoints:
    """The checkpoint of one run: the agent's own file and the harness's state, which names that file by its hash.

    A kill between any two writes leaves a pair that belongs together: the old one or the new one. ``identity`` is what
    the code and the run have to have in common for the continuation to be what an undisturbed run would have been.
    """

    def __init__(self, directory: Path, identity: dict[str, Any], every_s: float) -> None:
        self._agent, self._state = directory / AGENT, directory / STATE
        self._new = directory / f"{AGENT}.tmp"
        self._identity, self._every_s = identity, every_s
        self._next = time.monotonic() + every_s
        self._readable = False
        """Whether a file of this agent's has been read back."""

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._next

    def save(self, agent: Agent, state: dict[str, Any]) -> None:
        """Replace the checkpoint by the agent's present state and the harness's, which is plain data."""
        began = time.monotonic()
        self._write(agent)
        whole = {"identity": self._identity, "agent": _digest(self._new), **state}
        write_atomic(self._state, json.dumps(whole, default=lambda array: array.tolist()))
        os.replace(self._new, self._agent)
        took = time.monotonic() - began
        self._next = began + took + max(self._every_s, took / COST_SHARE)

    def keep(self, agent: Agent) -> None:
        """Replace the checkpoint by the trained agent alone, from which it may be played back."""
        self._write(agent)
        os.replace(self._new, self._agent)
        self._state.unlink(missing_ok=True)

    def _write(self, agent: Agent) -> None:
        with writing(self._new):
            try:
                agent.save(self._new)
                with open(self._new, "rb+") as file:
                    os.fsync(file.fileno())
            except (OSError, RuntimeError) as problem:
                self._new.unlink(missing_ok=True)
                if "PytorchStreamWriter" in str(problem):  # torch's own word for a write that failed
                    raise OSError("no space left, or a failing disk") from problem
                raise
            if not self._readable:  # once: an agent's files are alike, and reading takes time
                _check_readable(self._new)
                self._readable = True

    def load(self) -> tuple[Path, dict[str, Any]] | None:
        """The agent's file and the harness's state; None where there is nothing that this run can go on from."""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(state, dict) or state.get("identity") != self._identity:
            return None
        for path in (self._agent, self._new):
            if path.exists() and _digest(path) == state["agent"]:
                return path, state
        return None

    def remove(self, keep_policy: bool = False) -> None:
        """Delete the checkpoint, but for the agent's file of a policy that is kept."""
        for path in (self._state, self._new, *([] if keep_policy else [self._agent])):
            path.unlink(missing_ok=True)


def _check_readable(path: Path) -> None:
    """Refuse an agent's file that cannot be loaded: found on resumption only, it would have cost the whole run."""
    import torch

    try:
        # mapped into memory where the format allows: what is in the tensors does not matter, and may be large
        torch.load(path, weights_only=True, map_location="cpu", mmap=zipfile.is_zipfile(path))
    except OSError:
        raise
    except Exception as problem:
        path.unlink()
        reads = "tensors, numbers, text, lists and dicts"
        raise TypeError(f"save() must write what torch.load(weights_only=True) reads: {reads}") from problem


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def global_generators() -> dict[str, Any]:
    """States of the generators a library may draw from without being given one."""
    import numpy as np
    import torch

    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002  Stable-Baselines3 draws from it
        "torch": torch.get_rng_state().numpy().tobytes().hex(),
    }


def set_global_generators(states: dict[str, Any]) -> None:
    """Restore what ``global_generators`` returned, before or after its passage through JSON."""
    import numpy as np
    import torch

    version, key, gauss = states["python"]
    random.setstate((version, tuple(key), gauss))
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(torch.frombuffer(bytearray.fromhex(states["torch"]), dtype=torch.uint8))
