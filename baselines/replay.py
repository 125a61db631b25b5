"""Transitions in one tensor: a ring buffer that adds and samples in blocks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Batch(NamedTuple):
    """Transitions, one per row."""

    obs: Tensor
    """(n, obs_dim)"""
    action: Tensor
    """(n, action_dim)"""
    next_obs: Tensor
    """(n, obs_dim)"""
    reward: Tensor
    """(n,) per decision."""
    terminated: Tensor
    """(n,) 1 where the episode ended by the task's rule, not by its horizon."""
    elapsed: Tensor
    """(n,) how long the decision was held, in units of the task's dt."""


class Replay:
    """The last ``capacity`` transitions, sampled uniformly with replacement."""

    def __init__(self, obs_dim: int, action_dim: int, capacity: int) -> None:
        self.widths = (obs_dim, action_dim, obs_dim, 1, 1, 1)
        self.rows = torch.empty(capacity, sum(self.widths))
        self.size = 0
        self._next = 0

    @property
    def capacity(self) -> int:
        return len(self.rows)

    def append(
        self,
        obs: np.ndarray,
        action: np.ndarray,
        next_obs: np.ndarray,
        reward: float,
        terminated: bool,
        elapsed: float = 1.0,
    ) -> None:
        """Add one transition."""
        row = np.concatenate([obs, action, next_obs, [reward, terminated, elapsed]], dtype=np.float32)
        self._write(torch.from_numpy(row)[None])

    def extend(self, batch: Batch) -> None:
        """Add a block of transitions; of one larger than the buffer the last ones stay."""
        columns = [column if column.dim() == 2 else column[:, None] for column in batch]
        self._write(torch.cat(columns, dim=1)[-self.capacity :])

    def sample(self, n: int) -> Batch:
        """Draw n transitions; raises ValueError from an empty buffer."""
        return self.split(self.sample_rows(n))

    def sample_rows(self, n: int) -> Tensor:
        """Draw n transitions as rows for ``split``."""
        if not self.size:
            raise ValueError("sample from an empty replay buffer")
        return self.rows.index_select(0, torch.randint(self.size, (n,)))

    def resized(self, capacity: int) -> Replay:
        """The same transitions, the newest that fit, in a buffer of another capacity."""
        obs_dim, action_dim = self.widths[:2]
        other = Replay(obs_dim, action_dim, capacity)
        if self.size:
            oldest = self._next if self.size == self.capacity else 0
            other._write(torch.roll(self.rows[: self.size], -oldest, 0)[-capacity:])
        return other

    @property
    def all(self) -> Batch:
        """Every stored transition, in no particular order."""
        return self.split(self.rows[: self.size])

    def split(self, rows: Tensor) -> Batch:
        """Name the columns of rows (n, width)."""
        obs, action, next_obs, *scalars = rows.split(self.widths, dim=1)
        return Batch(obs, action, next_obs, *(column.squeeze(1) for column in scalars))

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows[: self.size].clone(), "next": self._next, "capacity": self.capacity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["capacity"] != self.capacity:
            self.rows = torch.empty(state["capacity"], self.rows.shape[1])
        self.size, self._next = len(state["rows"]), state["next"]
        self.rows[: self.size] = state["rows"]

    def _write(self, rows: Tensor) -> None:
        room = min(self.capacity - self._next, len(rows))
        self.rows[self._next : self._next + room] = rows[:room]
        self.rows[: len(rows) - room] = rows[room:]
        self._next = (self._next + len(rows)) % self.capacity
        self.size = min(self.size + len(rows), self.capacity)
