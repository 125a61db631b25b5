"""The exact optimal feedback of a task with known equations: what regret is measured against."""

from __future__ import annotations

import numpy as np
import torch

from hjbbench.equations import Equations, maximiser


class OptimalFeedback:
    """The Hamiltonian's maximiser for V* itself, held over a decision; it acts as an agent does."""

    def __init__(self, equations: Equations) -> None:
        self._equations = equations

    def act(self, obs: np.ndarray, *, deterministic: bool = True) -> np.ndarray:
        """Actions (n, control_dim) in [-1, 1] for observations (n, state_dim), which are the states."""
        state = torch.as_tensor(obs, dtype=torch.float64)
        control = maximiser(self._equations, self._equations.gradient, state)
        return (control / self._equations.control_bound).clamp(-1, 1).numpy().astype(np.float32)
