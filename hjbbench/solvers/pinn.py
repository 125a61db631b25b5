"""The residual of the HJB equation as a loss, with derivatives of the network (a physics-informed network).

It needs V_x and the diagonal of V_xx, and for an equation of first order nothing in it prefers the viscosity solution
to the many functions that satisfy the equation almost everywhere: the value flow is here to be compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
import torch
from torch import Tensor

from hjbbench.equations import noisy_directions
from hjbbench.protocol import Task
from hjbbench.registry import agent
from hjbbench.solvers.network_solver import NetworkConfig, NetworkSolver
from hjbbench.solvers.solver import when


@dataclass(frozen=True)
class PinnConfig(NetworkConfig):
    """``dt_factor`` is of the greedy policy only: the residual has no time step."""

    boundary_weight: float = 10.0
    """Against the residual, whose square is of another size."""


LARGEST_DIM = 20


@agent(
    "pinn",
    config=PinnConfig(),
    refuses=when(lambda e: e.state_dim <= LARGEST_DIM, f"pinn takes all second derivatives: at most {LARGEST_DIM}"),
)
class Pinn(NetworkSolver):
    """Solver: the squared HJB residual and the boundary's miss, minimised by gradient descent."""

    def __init__(self, task: Task, env: gym.Env, config: PinnConfig, seed: int) -> None:
        super().__init__(task, config, seed)
        self._noisy = noisy_directions(self.equations)

    def loss(self) -> Tensor:
        return self.residual(self.equations.sample(self.config.batch, self.rng)).square().mean() + self.boundary_loss()

    def residual(self, state: Tensor) -> Tensor:
        """max_u { r + b V_x + g^2 V_xx / 2 } - rho V at the states, (n,), differentiable in the network."""
        equations, field = self.equations, self.field
        state = state.requires_grad_()
        value = field(state)
        gradient = torch.autograd.grad(value.sum(), state, create_graph=True)[0]
        curvature = torch.zeros_like(state)
        if self._noisy:
            bends = [torch.autograd.grad(gradient[:, i].sum(), state, create_graph=True)[0][:, i] for i in self._noisy]
            curvature = curvature.index_add(1, torch.tensor(self._noisy), torch.stack(bends, 1))
        # The maximum's own derivative is 0.
        control = equations.best_curved_control(state, gradient, curvature).detach()
        out = equations.reward_rate(state, control) + (equations.drift(state, control) * gradient).sum(-1)
        spread = equations.scale(state, control).square()
        return out + (spread * curvature).sum(-1) / 2 - equations.discount_rate * value
