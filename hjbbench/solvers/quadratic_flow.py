"""The value flow on quadratic forms: what its time step costs, without the error of a network's fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from hjbbench.hjb.linear import with_one
from hjbbench.protocol import Task
from hjbbench.registry import agent
from hjbbench.solvers.solver import SolverConfig, ValueSolver, when
from hjbbench.solvers.value_flow import flow_of


@dataclass(frozen=True)
class QuadraticFlowConfig(SolverConfig):
    """Times are counted in steps, as the value flow's."""

    starts: int = 64
    """Trajectories of one rollout, one rollout per round."""
    rollout_steps: int = 40
    flow_step: float = 20.0
    """T/dt, the flow's step."""
    rate: float = 0.5
    """Share of the way to its targets that V goes in a round: the greedy policy of a young V overshoots in a step."""


class QuadraticField:
    """V(x) = y W y with y = (1, x); V starts at 0."""

    def __init__(self, state_dim: int) -> None:
        self.weight = torch.zeros(state_dim + 1, state_dim + 1, dtype=torch.float64)
        self._rows, self._columns = torch.triu_indices(state_dim + 1, state_dim + 1)

    def value(self, state: Tensor) -> Tensor:
        """V (n,)."""
        y = with_one(state).double()
        return ((y @ self.weight) * y).sum(1).to(state)

    def gradient(self, state: Tensor) -> Tensor:
        """V_x (n, state_dim)."""
        return (with_one(state).double() @ (self.weight + self.weight.T))[:, 1:].to(state)

    def approach(self, state: Tensor, target: Tensor, rate: float) -> None:
        """Go ``rate`` of the way to the form that fits ``target`` (n,) at ``state`` (n, state_dim) in least squares."""
        y = with_one(state).double()
        features = y[:, self._rows] * y[:, self._columns]
        found = torch.zeros_like(self.weight)
        found[self._rows, self._columns] = torch.linalg.lstsq(features, target.double()[:, None]).solution[:, 0]
        self.weight.lerp_(found, rate)


@agent(
    "value-flow-quadratic",
    config=QuadraticFlowConfig(),
    refuses=when(
        lambda equations: not (equations.ends or equations.finite_horizon) and equations.controls is None,
        "value-flow-quadratic needs a problem without an end, whose controls vary continuously",
    ),
)
class QuadraticFlow(ValueSolver):
    """Solver: the value flow with a quadratic form for V, which on linear plants with quadratic costs it is."""

    def __init__(self, task: Task, env: gym.Env, config: QuadraticFlowConfig, seed: int) -> None:
        super().__init__(task, config, seed)
        self.config, self.field = config, QuadraticField(self.equations.state_dim)
        self.solution = self.field
        self._flow = flow_of(self.equations, self.dt, self.field, config.rollout_steps, config.flow_step, self.rng)

    def improve(self, progress: float) -> int:
        with torch.no_grad():
            start = self.equations.sample(self.config.starts, self.rng)
            targets = self._flow.targets(self._flow.roll_out(start), torch.zeros(()))
        if targets.value.isfinite().all():  # else the run's next look at the solution reports it
            self.field.approach(targets.state, targets.value, self.config.rate)
        else:
            self.field.weight.fill_(math.nan)
        return 1

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.field.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.field.weight.copy_(state["weight"])
