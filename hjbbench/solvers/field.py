"""A value function as a neural network, with the average of its weights that is used."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from hjbbench.equations import Equations, gradient_of
from hjbbench.hjb.networks import Ensemble, Standardiser, follow, fused_adam

SHARPNESS = 8.0
"""Finer inputs where the best control jumps and the value has kinks, which smooth units must bend around."""


class ValueField:
    """V(x) as a network of standardised states; V = payoff + (time left) net where V is known at the end of time.

    ``value`` and ``gradient`` use the running average of the weights.
    """

    def __init__(
        self, equations: Equations, width: int, depth: int, lr: float, average_rate: float, rng: torch.Generator
    ) -> None:
        self.equations, self._rate = equations, average_rate
        inputs = self._inputs(equations.sample(4096, rng))
        self._standardise = Standardiser(inputs.shape[1], rng.device)
        spread = inputs.std(0)
        if equations.finite_horizon:
            # All components of the state together weigh as much as the time, or as the payoff.
            spread[1:-1] *= math.sqrt(equations.state_dim - 1)
        if equations.controls is not None:
            spread /= SHARPNESS
        self._standardise.adopt(inputs.mean(0), spread)
        self.net = Ensemble(1, inputs.shape[1], 1, width, depth, rng, zero_output=True)
        self.average = copy.deepcopy(self.net).requires_grad_(False)
        self.optimiser = fused_adam(self.net.parameters(), lr)
        self.unit = torch.ones(())

    def _inputs(self, state: Tensor) -> Tensor:
        if not self.equations.finite_horizon:
            return state
        return torch.cat([state, self.equations.payoff(state)[:, None]], 1)

    def __call__(self, state: Tensor, net: Ensemble | None = None) -> Tensor:
        inputs = self._inputs(state)
        out = self.unit * (net or self.net)(self._standardise(inputs))[0, :, 0]
        return inputs[:, -1] + self.equations.remaining_s(state) * out if self.equations.finite_horizon else out

    def value(self, state: Tensor) -> Tensor:
        """V (n,) by the averaged weights."""
        return self(state, self.average)

    def gradient(self, state: Tensor) -> Tensor:
        """V_x (n, state_dim) by the averaged weights."""
        return gradient_of(self.value, state)

    @torch.no_grad()
    def follow_range(self, target: Tensor) -> None:
        """Measure values in the size of the targets, within a factor of two; the function stays."""
        size = target.std() + target.mean().abs()
        if self.equations.finite_horizon or self.unit / 2 < size < self.unit * 2:
            return
        for net in (self.net, self.average):
            net.rescale_output(self.unit / size)
        self.unit = size

    def descend(self, loss: Tensor) -> None:
        """One step down a loss of this field's weights."""
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        follow(self.average, self.net, self._rate)

    def anneal(self, lr: float, progress: float) -> None:
        """Learning rate of a cosine from ``lr`` to 0."""
        self.optimiser.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * progress))

    def state_dict(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "standardise": self._standardise.state_dict(),
            "unit": self.unit,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._standardise.load_state_dict(state["standardise"])
        self.unit = state["unit"]
