"""All transitions of a run, one row each, so that a batch is one gather."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

LEAST_SPREAD = 1e-3
"""Added to the standard deviation of a state's coordinate: one that never moved must not blow up when it does."""


class Batch(NamedTuple):
    """Transitions; the leading shape is that of the index they were gathered with."""

    state: Tensor
    action: Tensor
    next_state: Tensor
    reward: Tensor
    terminated: Tensor
    """1.0 where the episode ended by the task's rule, 0.0 elsewhere."""
    dt: Tensor
    """Seconds of the decision."""


class Replay:
    """Transitions in the order they happened; grows by doubling."""

    def __init__(self, obs_dim: int, action_dim: int, device: torch.device) -> None:
        self._sizes = [obs_dim, action_dim, obs_dim, 1, 1, 1, 1]  # the last column marks the end of an episode
        self._rows = torch.zeros(4096, sum(self._sizes), device=device)
        self.size = 0

    def add(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, reward: float, terminated: bool, dt: float
    ) -> None:
        if self.size == len(self._rows):
            self._rows = torch.cat([self._rows, torch.zeros_like(self._rows)])
        row = np.concatenate([state, action, next_state, [reward, terminated, dt, 0.0]], dtype=np.float32)
        self._rows[self.size] = torch.from_numpy(row)
        self.size += 1

    def end_episode(self) -> None:
        """Mark the newest transition as the last of its episode."""
        self._rows[self.size - 1, -1] = 1.0

    def __getitem__(self, index: Tensor | slice) -> Batch:
        s, a, s2, r, term, dt, _ = self._rows[: self.size][index].split(self._sizes, -1)
        return Batch(s, a, s2, r[..., 0], term[..., 0], dt[..., 0])

    def state_units(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the states, (obs_dim,) each, as units for networks: the latter never 0."""
        state = self[:].state
        return state.mean(0), state.std(0) + LEAST_SPREAD

    def state_rate(self) -> Tensor:
        """How fast the states change, 1/s: the median, over coordinates that do, of their rates over their spreads."""
        data = self[:]
        rate = ((data.next_state - data.state) / data.dt[:, None]).square().mean(0).sqrt()
        moving = (rate / self.state_units()[1])[rate > 0]
        return moving.median() if len(moving) else rate.new_ones(())

    def within_episode(self, length: int) -> Tensor:
        """Indices whose following ``length - 1`` transitions belong to the same episode."""
        ends = self._rows[: self.size, -1].cumsum(0)
        ends_before = torch.cat([ends.new_zeros(1), ends])[: self.size]
        count = max(0, self.size - length + 1)
        return torch.nonzero(ends_before[:count] == ends_before[length - 1 : length - 1 + count])[:, 0]

    def last_episode(self) -> slice:
        """The newest finished episode."""
        ends = torch.nonzero(self._rows[: self.size, -1])[:, 0].tolist()
        if not ends:
            return slice(0, 0)
        return slice(ends[-2] + 1 if len(ends) > 1 else 0, ends[-1] + 1)

    def state_dict(self) -> dict[str, Tensor]:
        return {"rows": self._rows[: self.size].clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        rows = state["rows"]
        self.size = len(rows)
        capacity = 4096
        while capacity < self.size:
            capacity *= 2
        self._rows = torch.zeros(capacity, rows.shape[1], device=self._rows.device)
        self._rows[: self.size] = rows
