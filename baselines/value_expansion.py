"""Training rollouts of DHMBPO: value expansion for the critics, pathwise gradient for the policy, through one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks import EnsembleMLP, initialise

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""(obs, action) -> (reward (n,), next_obs (n, obs_dim), terminated (n,) bool), differentiable in both."""


class Rollout(NamedTuple):
    """K model steps of a policy from n states: the states s_0..s_K, what was done there and what it earned."""

    obs: list[Tensor]
    """K + 1 times (n, obs_dim)"""
    action: list[Tensor]
    log_prob: Tensor
    """(K + 1, n)"""
    reward: Tensor
    """(K, n)"""
    alive: Tensor
    """(K + 1, n) 1 until the episode has terminated"""


def rollout(obs: Tensor, steps: int, policy: Callable[[Tensor], tuple[Tensor, Tensor]], step: Step) -> Rollout:
    """Follow a policy through a model for a number of steps; trajectories go on behind their end, with ``alive`` 0."""
    observations, actions, log_probs, rewards = [], [], [], []
    alive = [torch.ones(len(obs))]
    for _ in range(steps):
        action, log_prob = policy(obs)
        observations.append(obs)
        actions.append(action)
        log_probs.append(log_prob)
        reward, obs, over = step(obs, action)
        rewards.append(reward)
        alive.append(alive[-1] * ~over)
    action, log_prob = policy(obs)
    return Rollout(
        [*observations, obs],
        [*actions, action],
        torch.stack([*log_probs, log_prob]),
        torch.stack(rewards),
        torch.stack(alive),
    )


def expand(reward: Tensor, last_value: Tensor, alive: Tensor, discount: float) -> Tensor:
    """Discounted sum of K rewards (K, n) and the value behind them (n,), each counted while alive (K + 1, n)."""
    factors = discount ** torch.arange(len(alive))
    return factors @ (torch.cat([reward, last_value[None]]) * alive)


class BoundedCritic(nn.Module):
    """Critics whose unit is half the range of attainable values, [least, most reward] / (1 - discount).

    Targets are the smaller of two members drawn at random (Chen et al. 2021), clipped to that range.
    """

    low: Tensor
    high: Tensor

    def __init__(self, inputs: int, members: int, width: int, discount: float) -> None:
        super().__init__()
        self.discount = discount
        sizes = (inputs, width, width, width, 1)
        eps, dropout = (0.0, 1e-5, 1e-5, 1e-5), (1e-3, 1e-3, 1e-3, 0.0)
        self.online = EnsembleMLP(members, sizes, F.silu, eps, dropout)
        initialise(self.online)
        nn.init.zeros_(self.online.layers[-1].weight)
        nn.init.zeros_(self.online.layers[-1].bias)
        self.target = EnsembleMLP(members, sizes, F.silu, eps, dropout).requires_grad_(False)
        self.target.load_state_dict(self.online.state_dict())
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    @torch.no_grad()
    def bound(self, reward: Tensor, quantile: float, rate: float) -> None:
        """Move the range towards that of rewards, entropy bonus included; the first call sets it."""
        low, high = torch.quantile(reward, torch.tensor([quantile, 1.0 - quantile])) / (1.0 - self.discount)
        weight = torch.where(self.low == self.high, 1.0, rate)
        self.low.lerp_(low, weight)
        self.high.lerp_(high, weight)

    def forward(self, x: Tensor, dropping: bool = False) -> Tensor:
        """Values (members, n) of x (n, inputs), with dropout or without."""
        return self._scale(self.online(x, dropping=dropping).squeeze(2))

    @torch.no_grad()
    def target_value(self, x: Tensor) -> Tensor:
        """The clipped minimum of two random target members, (n,)."""
        pair = torch.rand(self.target.members).argsort()[:2]  # the compiler stumbles over indices from randperm
        return self._scale(self.target(x, pair).squeeze(2)).amin(0).clamp(self.low, self.high)

    @torch.no_grad()
    def follow(self, tau: float) -> None:
        """One Polyak step of the target networks."""
        for target, online in zip(self.target.parameters(), self.online.parameters(), strict=True):
            target.lerp_(online, tau)

    def _scale(self, x: Tensor) -> Tensor:
        return 0.5 * (self.high + self.low + x * (self.high - self.low))
