"""The policy that is greedy in a value of known equations; in the exact one, it is the optimal feedback."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hjbbench.equations import NO_CROSSING, Equations, hold_step, maximiser


class Value(Protocol):
    """A value function and its gradient at states (n, state_dim)."""

    def value(self, state: Tensor) -> Tensor: ...

    def gradient(self, state: Tensor) -> Tensor: ...


class Greedy:
    """The policy that is greedy in a value; one of the flow's, without entropy.

    The closed-form maximiser of the Hamiltonian where controls vary continuously. Where they are a finite set, the best
    of one step each: the maximum of a monotone scheme, which sees an end of the domain that a gradient does not.
    """

    def __init__(self, equations: Equations, dt: float, value: Value) -> None:
        self._equations, self._dt, self._value = equations, dt, value
        self._last: tuple[Tensor, Tensor] | None = None

    def gradient(self, state: Tensor) -> Tensor:
        """V_x at the states, computed once for the control and the control variate."""
        if self._last is None or self._last[0] is not state:
            self._last = state, self._value.gradient(state)
        return self._last[1]

    def control(self, state: Tensor) -> Tensor:
        """(n, control_dim)."""
        controls = self._equations.controls
        if controls is None:
            return maximiser(self._equations, self.gradient, state)
        n, k = len(state), len(controls)
        still = state.new_zeros(n * k, state.shape[1] + 1)
        still[:, -1] = NO_CROSSING
        following, reward, ended, _ = hold_step(
            self._equations, self._dt, state.repeat_interleave(k, 0), controls.to(state).repeat(n, 1), still
        )
        discount = math.exp(-self._equations.discount_rate * self._dt)
        gain = reward + discount * ~ended * self._value.value(following)
        return controls.to(state)[gain.view(n, k).argmax(1)]

    def act(self, obs: np.ndarray, *, deterministic: bool = True) -> np.ndarray:
        """The control over its bound, as an agent acts, for observations (state_dim,) or (n, state_dim)."""
        state = torch.as_tensor(obs, dtype=torch.float32)
        control = self.control(state.view(-1, state.shape[-1]))
        action = (control / self._equations.control_bound).clamp(-1, 1)
        return action.view(*state.shape[:-1], -1).numpy().astype(np.float32)

    def sample(self, state: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        control = self.control(state)
        return control, state.new_zeros(len(state)), control


class Exact:
    """The exact solution as a ``Value``, in the caller's precision."""

    def __init__(self, equations: Equations) -> None:
        self._equations = equations

    def value(self, state: Tensor) -> Tensor:
        return self._equations.value(state).to(state)

    def gradient(self, state: Tensor) -> Tensor:
        return self._equations.gradient(state).to(state)
