"""The swing-up of control/pendulum has no closed form: its value is that of a fine grid, stored beside this file.

``python -c "from tasks.oracle import pendulum; pendulum.store()"`` solves it anew in a minute of one processor.
"""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hjbbench.equations import Equations

if TYPE_CHECKING:
    from scipy.interpolate import RegularGridInterpolator

STORED = Path(__file__).with_suffix(".npy")
NODES, KEEP = 481, 4
"""Nodes per dimension of the solved grid, and the one in how many that is stored."""
TOP_SPEED = 8.0
"""rad/s, where the plant stops speeding up."""


class Pendulum(Equations):
    """theta'' = 15 sin(theta) + 3 u with |u| <= 2 N m; reward rate -(2 (1 - cos theta) + theta'^2 / 10 + u^2 / 1000)
    per 0.05 s, discounted by 0.99 per 0.05 s: control/pendulum with the state (theta, theta'), theta = 0 upright.
    """

    state_dim, control_dim = 2, 1
    discount_rate, control_bound, extent = -math.log(0.99) / 0.05, 2.0, math.pi
    controls = torch.linspace(-2, 2, 9)[:, None]
    ends = False

    def drift(self, state: Tensor, control: Tensor) -> Tensor:
        return torch.cat([state[:, 1:], 15 * state[:, :1].sin() + 3 * control], 1)

    def reward_rate(self, state: Tensor, control: Tensor) -> Tensor:
        angle, speed = state.unbind(-1)
        return -20 * (2 * (1 - angle.cos()) + 0.1 * speed.square() + 0.001 * control[:, 0].square())

    def wrap(self, state: Tensor) -> Tensor:
        angle = torch.remainder(state[:, :1] + math.pi, 2 * math.pi) - math.pi
        return torch.cat([angle, state[:, 1:]], 1)

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.tensor([math.pi, TOP_SPEED]) * (2 * torch.rand(n, 2, generator=rng) - 1)

    def value(self, state: Tensor) -> Tensor:
        return torch.as_tensor(_stored()(self.wrap(state).numpy())).to(state)

    def gradient(self, state: Tensor) -> Tensor:
        shifts = 1e-3 * torch.eye(2).to(state)
        return torch.stack([(self.value(state + s) - self.value(state - s)) / 2e-3 for s in shifts], 1)


@cache
def _stored() -> RegularGridInterpolator:
    from scipy.interpolate import RegularGridInterpolator

    nodal = np.load(STORED)
    axes = [np.linspace(-end, end, len(nodal)) for end in (math.pi, TOP_SPEED)]
    return RegularGridInterpolator(axes, nodal, bounds_error=False, fill_value=None)


def optimal_value(obs: np.ndarray) -> np.ndarray:
    """V* (n,) for control/pendulum's observations (cos theta, sin theta, theta'), (n, 3)."""
    return _stored()(np.stack([np.arctan2(obs[:, 1], obs[:, 0]), obs[:, 2]], -1))


def solve(nodes: int) -> np.ndarray:
    """V at the nodes (nodes, nodes) of angle and speed."""
    from hjbbench.registry import get_task
    from hjbbench.solvers.grid import Grid, GridConfig

    task = dataclasses.replace(get_task("control/pendulum"), equations=Pendulum())
    grid = Grid(task, task.make(), GridConfig(nodes=nodes, beyond=1.0), 0)
    while grid.improve(0.0):
        pass
    return grid.table.nodal.reshape(nodes, nodes)


def store() -> None:
    """Solve the fine grid, and keep of it what a file of 60 kB holds."""
    np.save(STORED, solve(NODES)[::KEEP, ::KEEP].astype(np.float32))
