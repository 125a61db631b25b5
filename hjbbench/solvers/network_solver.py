"""What the solvers whose value is a network share: the network, its learning rate's course, saving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hjbbench.protocol import Task
from hjbbench.solvers.field import ValueField
from hjbbench.solvers.solver import SolverConfig, ValueSolver


@dataclass(frozen=True)
class NetworkConfig(SolverConfig):
    """One setting for all problems, and for the value flow and the residual solver alike."""

    updates: int = 40
    """Gradient steps per round."""
    batch: int = 512
    width: int = 64
    depth: int = 3
    lr: float = 5e-3
    """At the start; a cosine takes it to 0."""
    boundary_batch: int = 64
    """States on the boundary, where there is one, at which an update fits the payoff."""
    boundary_weight: float = 1.0
    """Of their mean square miss in the loss."""
    average_rate: float = 0.02
    """Averaging rate of the weights that targets, policy and errors use."""


class NetworkSolver(ValueSolver):
    """A solver whose solution is a ``ValueField``."""

    def __init__(self, task: Task, config: NetworkConfig, seed: int) -> None:
        super().__init__(task, config, seed)
        self.config = config
        self.field = ValueField(self.equations, config.width, config.depth, config.lr, config.average_rate, self.rng)
        self.solution = self.field

    def improve(self, progress: float) -> int:
        self.field.anneal(self.config.lr, progress)
        self.prepare()
        for _ in range(self.config.updates):
            self.field.descend(self.loss())
        return self.config.updates

    def boundary_loss(self) -> Tensor:
        """The weighted mean square miss of the payoff on the boundary, in reward units; 0 without one."""
        edge = self.equations.boundary(self.config.boundary_batch, self.rng)
        miss = self.field(edge) - self.equations.payoff(edge)
        return self.config.boundary_weight * miss.square().sum() / max(1, len(edge))

    def prepare(self) -> None:
        """What a round does before its updates."""

    def loss(self) -> Tensor:
        """The loss of one update."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return self.field.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.field.load_state_dict(state)
