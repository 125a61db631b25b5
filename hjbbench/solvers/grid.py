"""A semi-Lagrangian grid: V at the nodes of a box, interpolated multilinearly, by value or policy iteration.

    V(x) = max_u { h r + e^{-rho h} mean_i V(x + h b +- sqrt(n h) g_i e_i) }   over the n directions with noise

is monotone, so it converges to the viscosity solution as the spacing, and with it h, goes to 0 (Camilli and Falcone,
1995). Its cost is exponential in the dimension: what it is here to show.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from hjbbench.equations import NO_CROSSING, Equations, hold_step, maximiser, noisy_directions
from hjbbench.errors import UserError
from hjbbench.protocol import Task
from hjbbench.registry import agent
from hjbbench.solvers.solver import SolverConfig, ValueSolver, when
from hjbbench.solvers.table import Table

BYTES_PER_WEIGHT = 12
"""Of a sparse matrix: a double and an index."""
LONGEST = 4.0
"""Decisions that one step may take where a cell takes longer to cross."""
SETTLED = 1e-6
"""Relative change of V in a round from which on nothing is done."""


Step = tuple[np.ndarray, sparse.csr_matrix]
"""Reward (n,) of a step and the discounted weights of where it leads."""


@dataclass(frozen=True)
class GridConfig(SolverConfig):
    """Nodes and the memory they may take. ``dt_factor`` is of the longest step: a short spacing makes it shorter.

    The longest step is ``LONGEST`` decisions, since a step far shorter than a cell takes to cross does not pay.
    """

    nodes: int = 0
    """Per dimension; 0 for 201, 101, 41 and 15 in one to four dimensions."""
    beyond: float = 2.0
    """The box's size over that of the states V is sought at, for a problem that goes on outside them."""
    sweeps: int = 200
    """Of every node per round."""
    memory_mb: int = 2000
    """Most that the transition matrices may take."""

    def nodes_in(self, dim: int) -> int:
        """Nodes per dimension."""
        return self.nodes or DEFAULT_NODES[dim - 1]

    def check(self, task: Task) -> None:
        """Raise UserError for a grid too small to be one or too large for memory, with its size."""
        super().check(task)
        assert task.equations is not None
        dim = task.equations.state_dim
        nodes = self.nodes_in(dim)
        if nodes < 3:
            raise UserError(f"grid.nodes is {nodes}, must be at least 3")
        if (needed := memory_mb(task.equations, nodes)) > self.memory_mb:
            raise UserError(
                f"grid: {nodes}^{dim} nodes on {task.name} need {needed:.0f} MB, allowed are {self.memory_mb} "
                "(grid.nodes, grid.memory_mb)"
            )


DEFAULT_NODES = (201, 101, 41, 15)


def memory_mb(equations: Equations, nodes: int) -> float:
    """Size of a grid's transition matrices, one per control of a finite set: every node meets 2^d corners for each way
    the noise can go."""
    d, n_matrices = equations.state_dim, 1 if equations.controls is None else len(equations.controls)
    return nodes**d * 2**d * max(1, 2 * len(noisy_directions(equations))) * n_matrices * BYTES_PER_WEIGHT / 1e6


@agent(
    "grid",
    config=GridConfig(),
    refuses=when(
        lambda e: e.state_dim <= len(DEFAULT_NODES) and not e.finite_horizon,
        "grid reaches four dimensions: its nodes are exponential in them",
    ),
)
class Grid(ValueSolver):
    """Solver: semi-Lagrangian policy iteration on a regular grid, up to four dimensions."""

    def __init__(self, task: Task, env: gym.Env, config: GridConfig, seed: int) -> None:
        super().__init__(task, config, seed)
        self.config = config
        equations = self.equations
        size = equations.sample(4096, self.rng).double().abs().amax(0)
        if (equations.margin(config.beyond * size[None]) > 0).all():
            size = config.beyond * size
        self._noisy = noisy_directions(equations)
        self._lay(size)
        self._control: Tensor | None = None
        self._settled = False

    def _lay(self, size: Tensor) -> None:
        """A grid over the box |x_i| <= size_i, payoffs where nothing is to be solved."""
        equations = self.equations
        self._size = size
        self.table = Table(size, self.config.nodes_in(equations.state_dim))
        self.solution = self.table
        self._points = self.table.points()
        inside = equations.margin(self._points) > 1e-9
        self._inner = inside.nonzero()[:, 0]
        self.table.nodal = torch.where(inside, 0.0, equations.payoff(self._points)).numpy()
        controls = () if equations.controls is None else equations.controls.double()
        self._fixed = [self._transition(control.expand(len(self._inner), -1)) for control in controls]

    def resolution(self) -> dict[str, float]:
        """Seconds of the longest step, and the distance of two nodes over the box's size."""
        return super().resolution() | {"spacing": 2 / (self.table.shape[0] - 1)}

    def improve(self, progress: float) -> int:
        """``sweeps`` of value iteration; where controls vary continuously, of one policy's after its improvement."""
        if self._settled:
            return 0
        table, inner, before = self.table, self._inner.numpy(), self.table.nodal.copy()
        steps = self._fixed or [self._transition(self._better_control())]
        for _ in range(self.config.sweeps):
            table.nodal[inner] = self._gains(steps).max(0)
        change = np.abs(table.nodal - before).max()
        self._settled = bool(change < SETTLED * np.abs(table.nodal).max())
        return self.config.sweeps

    def _gains(self, steps: list[Step]) -> np.ndarray:
        """What each of the steps makes of V at the inner nodes, (steps, inner nodes)."""
        return np.stack([reward + matrix @ self.table.nodal for reward, matrix in steps])

    def _better_control(self) -> Tensor:
        """The maximiser (inner nodes, control_dim) for the differences between nodes, or the last control.

        A step may earn less than differences of a coarse grid promise. With the better of the two at every node,
        policies neither go round in circles nor run away.
        """
        control = maximiser(self.equations, self.table.gradient, self._points[self._inner])
        if self._control is not None:
            before, after = self._gains([self._transition(each) for each in (self._control, control)])
            control = torch.where(torch.as_tensor(after > before)[:, None], control, self._control)
        self._control = control
        return control

    def _transition(self, control: Tensor) -> Step:
        """Reward (n,) of a step of the inner nodes, payoffs included, and the discounted weights of where it leads."""
        state, equations = self._points[self._inner], self.equations
        h = self._steps(state, control)
        ways = list(itertools.product(self._noisy, (1, -1))) or [(0, 0)]
        reward, matrix = np.zeros(len(state)), None
        for i, sign in ways:
            noise = torch.zeros(len(state), state.shape[1] + 1, dtype=torch.float64)
            noise[:, i] = sign * math.sqrt(len(self._noisy))
            noise[:, -1] = NO_CROSSING  # steps against the noise stop short of the boundary
            following, earned, ended, _ = hold_step(equations, h, state, control, noise)
            reward += earned.numpy() / len(ways)
            weight = torch.exp(-equations.discount_rate * h) * ~ended / len(ways)
            part = self.table.weights(equations.wrap(following), weight.numpy())
            matrix = part if matrix is None else matrix + part
        return reward, matrix

    def _steps(self, state: Tensor, control: Tensor) -> Tensor:
        """h (n,): what drift or noise needs for one spacing; near a boundary no more than the noise needs to reach it.

        Interpolation errs by spacing^2 a step, so V by spacing^2 / h: shorter steps make a coarse grid worse.
        """
        speed = (self.equations.drift(state, control).abs() / self.table.spacing).amax(-1)
        h = 1 / speed.clamp(min=1 / (LONGEST * self.dt))
        if self._noisy:
            reach = math.sqrt(len(self._noisy)) * self.equations.scale(state, control)
            within = torch.minimum(self.table.spacing, self.equations.margin(state)[:, None])
            h = torch.minimum(h, (reach / within).amax(-1).square().reciprocal())
        return h

    def state_dict(self) -> dict[str, Any]:
        nodal = torch.as_tensor(self.table.nodal)
        return {"size": self._size, "nodal": nodal, "control": self._control, "settled": self._settled}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._lay(state["size"])  # the box is drawn, and another seed's is another one
        self.table.nodal, self._control, self._settled = state["nodal"].numpy(), state["control"], state["settled"]
