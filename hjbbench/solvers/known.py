"""Known equations as the dynamics that the value flow runs on."""

from __future__ import annotations

import torch
from torch import Tensor

from hjbbench.equations import Equations, hold_step
from hjbbench.greedy import Greedy
from hjbbench.hjb.dynamics import Step, paired_noise


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
