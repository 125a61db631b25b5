"""The Hamiltonian value flow on known equations: the agent's own flow, fed with the plant instead of a generator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from hjbbench.equations import Equations, noisy_directions
from hjbbench.greedy import Greedy, Value
from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.flow import HamiltonianFlow
from hjbbench.protocol import Task
from hjbbench.registry import agent
from hjbbench.solvers.known import KnownDynamics
from hjbbench.solvers.network_solver import NetworkConfig, NetworkSolver
from hjbbench.solvers.solver import known


@dataclass(frozen=True)
class ValueFlowConfig(NetworkConfig):
    """Times are counted in steps, since problems live on scales from 0.02 s to 5 s."""

    starts: int = 1024
    """Trajectories of one rollout, one rollout per round. Many short ones: long ones crowd where the policy leads."""
    rollout_steps: int = 10
    flow_step: float = 20.0
    """T/dt, the flow's step: TD(lambda) with lambda = exp(-1 / flow_step)."""


class _StateValue:
    """What the flow asks of a critic."""

    def __init__(self, value: Value, discount: float) -> None:
        self._value, self.discount = value, discount

    def bounded_target(self, state: Tensor, action: Tensor) -> Tensor:
        return self._value.value(state)


def flow_of(
    equations: Equations, dt: float, value: Value, rollout_steps: int, flow_step: float, rng: torch.Generator
) -> HamiltonianFlow:
    """The agent's flow of ``value`` along known equations under its greedy policy; times in steps of ``dt`` seconds."""
    policy = Greedy(equations, dt, value)
    critic: Any = _StateValue(value, math.exp(-equations.discount_rate * dt))
    config = HJBConfig(rollout_steps=rollout_steps)
    dynamics = KnownDynamics(equations, dt, policy)
    return HamiltonianFlow(dynamics, policy, critic, equations.control_dim, config, rng, flow_step)


@agent("value-flow", config=ValueFlowConfig(), refuses=known)
class ValueFlow(NetworkSolver):
    """Solver: TD(lambda) along the known equations towards the viscosity solution, martingale noise removed."""

    def __init__(self, task: Task, env: gym.Env, config: ValueFlowConfig, seed: int) -> None:
        super().__init__(task, config, seed)
        self.flow = flow_of(self.equations, self.dt, self.field, config.rollout_steps, config.flow_step, self.rng)
        self._n_starts, self._noisy = config.starts, noisy_directions(self.equations)

    def prepare(self) -> None:
        """A rollout from fresh states under the greedy policy, and the flow's targets along it."""
        start = self.equations.sample(self._n_starts, self.rng)
        self._targets = self.flow.targets(self.flow.roll_out(start), torch.zeros(()))
        self.field.follow_range(self._targets.value)

    def loss(self) -> Tensor:
        """The miss of the targets, half of the batch at states V is sought at and half along the paths.

        Without noise a miss weighs by its own size: the flow contracts in the maximum norm, and a mean square forgives
        large errors in small places, which the policy then finds. Noisy targets have their mean in the square alone.
        """
        half, places = self.config.batch // 2, (self._n_starts, len(self._targets.value))  # the starts come first
        index = torch.cat([torch.randint(0, n, (half,), generator=self.rng) for n in places])
        miss = self.field(self._targets.state[index]) - self._targets.value[index]
        loss = miss.square()
        if not self._noisy:
            loss = loss * miss.detach().abs() / miss.detach().abs().mean()
        return (loss.mean() + self.boundary_loss()) / self.field.unit**2
