"""Deep BSDE: the value at one point and a network for the gradient at every time step (Han, Jentzen and E, 2018).

Along the uncontrolled diffusion dX = b(X, 0) dt + g dW the value obeys dV = -f dt + V_x g dW with the driver
f = max_u { r(X, u) + (b(X, u) - b(X, 0)) V_x }. V(0, x0) and the V_x g are trained until V ends at the payoff.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from hjbbench.hjb.networks import fused_adam
from hjbbench.protocol import Task
from hjbbench.registry import agent
from hjbbench.solvers.solver import Solver, SolverConfig, when


@dataclass(frozen=True)
class DeepBSDEConfig(SolverConfig):
    """As published for this equation (frankhan91/DeepBSDE, configs/hjb_lq_d100.json): 20 steps, 2000 iterations."""

    updates: int = 20
    """Iterations per round."""
    batch: int = 64
    lr: float = 1e-2
    extra_width: int = 10
    """Hidden units beyond the dimension of the state."""


LARGEST_DIM = 100


class _Slopes(nn.Module):
    """V(0, x0) and the networks for V_x g over the dimension, one per time step; batch-normalised throughout."""

    def __init__(self, dim: int, n_steps: int, width: int, rng: torch.Generator) -> None:
        super().__init__()
        self.start_value = nn.Parameter(torch.rand(1, generator=rng))
        self.start_slope = nn.Parameter(0.2 * torch.rand(dim, generator=rng) - 0.1)
        self.nets = nn.ModuleList(self._net(dim, width, rng) for _ in range(n_steps - 1))

    @staticmethod
    def _net(dim: int, width: int, rng: torch.Generator) -> nn.Sequential:
        def norm(size: int) -> nn.BatchNorm1d:
            layer = nn.BatchNorm1d(size, eps=1e-6, momentum=0.01)
            nn.init.uniform_(layer.weight, 0.1, 0.5, generator=rng)
            nn.init.normal_(layer.bias, std=0.1, generator=rng)
            return layer

        def linear(n_in: int, n_out: int, bias: bool) -> nn.Linear:
            layer = nn.Linear(n_in, n_out, bias=bias)
            nn.init.xavier_uniform_(layer.weight, generator=rng)
            if bias:
                nn.init.zeros_(layer.bias)
            return layer

        return nn.Sequential(
            norm(dim), linear(dim, width, False), norm(width), nn.ReLU(),
            linear(width, width, False), norm(width), nn.ReLU(), linear(width, dim, True), norm(dim),
        )  # fmt: skip

    def slope(self, k: int, x: Tensor) -> Tensor:
        """V_x g (n, dim) at time step k."""
        return self.start_slope.expand_as(x) if k == 0 else self.nets[k - 1](x) / x.shape[1]


class _Known:
    """What has been learned of V: its gradient in x near the trajectories, and its value at the start alone."""

    def __init__(self, solver: DeepBSDE) -> None:
        self._solver = solver

    def value(self, state: Tensor) -> Tensor:
        start = (state == self._solver.start).all(-1)
        return torch.where(start, self._solver.net.start_value, math.nan)

    @torch.no_grad()
    def gradient(self, state: Tensor) -> Tensor:
        """(n, 1 + dim); the derivative in time, which no control needs, is 0."""
        net = self._solver.net.eval()
        step = (state[:, 0] / self._solver.dt + 1e-3).long().clamp(0, self._solver.n_steps - 1)
        out = torch.zeros_like(state)
        for k in step.unique().tolist():
            rows = step == k
            out[rows, 1:] = net.slope(k, state[rows, 1:]) / self._solver.spread(state[rows])
        return out


@agent(
    "deep-bsde",
    config=DeepBSDEConfig(),
    refuses=when(
        lambda e: e.finite_horizon and e.state_dim <= LARGEST_DIM + 1,
        f"deep-bsde needs an end of time, and its networks grow with the dimension squared: at most {LARGEST_DIM}",
    ),
)
class DeepBSDE(Solver):
    """Solver: Deep BSDE with the published settings; it learns the value at one point."""

    def __init__(self, task: Task, env: gym.Env, config: DeepBSDEConfig, seed: int) -> None:
        super().__init__(task, config, seed)
        self.config = config
        anchor = self.equations.anchor()
        assert anchor is not None
        self.start = anchor
        horizon_s = self.equations.remaining_s(anchor).item()
        self.n_steps = round(horizon_s / self.dt)
        self.dt = horizon_s / self.n_steps  # the nearest that ends when the time is up
        dim = self.equations.state_dim - 1
        self.net = _Slopes(dim, self.n_steps, dim + config.extra_width, self.rng)
        self.optimiser = fused_adam(self.net.parameters(), config.lr)
        self.solution = _Known(self)

    def spread(self, state: Tensor) -> Tensor:
        """g in x, (n, dim)."""
        return self.equations.scale(state, self._idle(state))[:, 1:]

    def _idle(self, state: Tensor) -> Tensor:
        return state.new_zeros(len(state), self.equations.control_dim)

    def improve(self, progress: float) -> int:
        self.net.train()
        for _ in range(self.config.updates):
            loss = self._shortfall().square().mean()
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        return self.config.updates

    def _shortfall(self) -> Tensor:
        """The end of V's path less the payoff, (batch,)."""
        state, equations = self.start.expand(self.config.batch, -1), self.equations
        value = self.net.start_value.expand(self.config.batch)
        for k in range(self.n_steps):
            idle, spread = self._idle(state), self.spread(state)
            shock = math.sqrt(self.dt) * torch.randn(state[:, 1:].shape, generator=self.rng)
            slope = self.net.slope(k, state[:, 1:])
            gradient = torch.cat([torch.zeros_like(slope[:, :1]), slope / spread], 1)
            control = equations.best_control(state, gradient)
            free = equations.drift(state, idle)
            pull = ((equations.drift(state, control) - free) * gradient).sum(-1)
            value = value - self.dt * (equations.reward_rate(state, control) + pull) + (slope * shock).sum(-1)
            following = state + self.dt * free
            state = torch.cat([following[:, :1], following[:, 1:] + spread * shock], 1)
        return value - equations.payoff(state)

    def state_dict(self) -> dict[str, Any]:
        return {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
