"""What a decision that ends the episode pays, which may be far from any other reward and so is learned on its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

HALVINGS = 6
"""Of the decision in which the boundary is crossed, to find when: within a 128th of it."""


class Exits:
    """The task's known rule of ending, ``rule(s, a, s')`` or None, and the payoff: the mean of what exits have paid.

    Where ``timed``, the running reward is earned until the boundary is crossed, and the payoff is what exits pay
    besides.
    """

    def __init__(self, rule: Callable[[Any, Any, Any], Any] | None, device: torch.device) -> None:
        self._rule = rule
        self.payoff, self.timed = torch.zeros((), device=device), False

    @torch.no_grad()
    def reached(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Which of n decisions end the episode, (n,) bool."""
        if self._rule is None:
            return torch.zeros(len(state), dtype=torch.bool, device=state.device)
        return self._rule(state, action, next_state)

    def earned(self, state: Tensor, action: Tensor, next_state: Tensor, running: Tensor) -> Tensor | float:
        """What of the ``running`` reward (n,) of decisions that end the episode they still earn: (n,), or 0."""
        return self._share(state, action, next_state) * running if self.timed else 0.0

    @torch.no_grad()
    def _share(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Share of a decision, (n,), before the straight way to its next state crosses the boundary."""
        share = torch.full((len(state), 1), 0.5, device=state.device)
        for halving in range(2, HALVINGS + 2):
            beyond = self.reached(state, action, torch.lerp(state, next_state, share))[:, None]
            share = share + torch.where(beyond, -1.0, 1.0) / 2**halving
        return share[:, 0]

    def state_dict(self) -> dict[str, Any]:
        return {"payoff": self.payoff, "timed": self.timed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.payoff, self.timed = state["payoff"], state["timed"]
