"""Known equations as the dynamics that the value flow runs on, and the policy that is greedy in a value."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from hjbbench.equations import NO_CROSSING, Equations, hold_step, maximiser
from hjbbench.hjb.dynamics import Step, paired_noise


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

    def sample(self, state: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        control = self.control(state)
        return control, state.new_zeros(len(state)), control


class KnownDynamics:
    """A ``Dynamics`` from known equations; rewards less the martingale V_x g dW, which changes no expectation.

    With the exact V_x the return along every path is then V itself: its variance vanishes as V converges, whatever dt
    (Zhou, Han and Lu, 2021, SIAM J. Sci. Comput. 43, section 3.1).
    """

    def __init__(self, equations: Equations, dt: float, policy: Greedy | None = None) -> None:
        self.equations, self.dt, self._policy = equations, dt, policy
        self.drift, self.scale, self.reward_rate = equations.drift, equations.scale, equations.reward_rate

    def noise(self, n_steps: int, n: int, rng: torch.Generator, antithetic: bool = False) -> Tensor:
        return paired_noise(n_steps, n, self.equations.state_dim + 1, rng, antithetic)

    def kick(self, state: Tensor, action: Tensor, noise: Tensor) -> Tensor:
        return noise  # the equations take it as it is

    def step(self, state: Tensor, action: Tensor, kick: Tensor) -> Step:
        next_state, reward, ended, shock = hold_step(self.equations, self.dt, state, action, kick)
        if self._policy is not None and shock.any():
            reward = reward - (self._policy.gradient(state) * shock).sum(-1)
        return Step(next_state, reward, ended)
