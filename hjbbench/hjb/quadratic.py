"""A quadratic form fitted by least squares: a reward that needs no network.

Costs in control are often quadratic in the state and the action. Where they are, the form is exact from a few hundred
transitions; where they are not, it errs worse than a network far from the data and must not be used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hjbbench.hjb.linear import with_one

MOST_INPUTS = 40
"""Of more inputs, products would outnumber the first transitions."""
RIDGE = 1e-6
"""Of the features' mean square, times the number of rows: directions the data say nothing about stay out."""
MOST_MISSED = 0.02
"""Held-out error over the target's spread up to which a form counts as right. Pendulum 0.01, oscillators below 0.001;
half-cheetah 0.18, and six times the spread on the thousand decisions after those it was fitted to."""
LEAST_MISSED = 1e-5
"""Of the target's size: a constant has no spread, and what is left of it is rounding."""
PAD = 0.2
"""Share of the fitted values' range by which the form may leave it: a square has no bounds of its own."""


class QuadraticForm:
    """q(x) = y W y with y = (1, x), for inputs (..., size); 0 unless ``trusted``."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.weight = torch.zeros(size + 1, size + 1, device=device)
        self.low, self.high = torch.zeros((), device=device), torch.zeros((), device=device)
        self._rows, self._columns = torch.triu_indices(size + 1, size + 1, device=device)
        self.trusted = False

    def __call__(self, x: Tensor) -> Tensor:
        """Values (...,) for inputs (..., size)."""
        return self._value(x) if self.trusted else x.new_zeros(x.shape[:-1])

    def _value(self, x: Tensor) -> Tensor:
        y = with_one(x)
        return ((y @ self.weight) * y).sum(-1).clamp(self.low, self.high)

    @property
    def constant(self) -> bool:
        """Whether the form is trusted and the target it was fitted to never changed by more than rounding."""
        return self.trusted and bool(self.high - self.low <= LEAST_MISSED * self.high.abs())

    @torch.no_grad()
    def learn(self, x: Tensor, target: Tensor) -> None:
        """Adopt the form fitted to every other row of inputs (n, size) if it is right about the ``target`` between.

        Otherwise the form stays as it was.
        """
        if x.shape[1] > MOST_INPUTS or len(x) < 2 * len(self._rows):
            return
        before = self.state_dict()
        self._fit(x[::2], target[::2])
        missed = (self._value(x[1::2]) - target[1::2]).square().mean().sqrt()
        if missed > MOST_MISSED * target.std() + LEAST_MISSED * target.abs().amax():
            self.load_state_dict(before)
        else:
            self.trusted = True

    def _fit(self, x: Tensor, target: Tensor) -> None:
        """Ridge regression on the products of the inputs, each in units of its own."""
        y = with_one(x).double()
        features = y[:, self._rows] * y[:, self._columns]
        unit = features.square().mean(0).sqrt() + 1e-12
        features /= unit
        penalty = RIDGE * len(x) * torch.eye(len(unit), dtype=torch.float64, device=x.device)
        solved = torch.linalg.solve(features.T @ features + penalty, features.T @ target.double())
        self.weight = torch.zeros_like(self.weight)
        self.weight[self._rows, self._columns] = (solved / unit).float()
        pad = PAD * (target.amax() - target.amin())
        self.low, self.high = target.amin() - pad, target.amax() + pad

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight, "low": self.low, "high": self.high, "trusted": self.trusted}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight, self.low, self.high = state["weight"], state["low"], state["high"]
        self.trusted = state["trusted"]
