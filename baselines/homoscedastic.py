"""The dynamics model of DHMBPO: an ensemble of networks, each with one noise level per output.

Kubo et al. 2025 (TMLR, 4kubo/erl_lib): layer-normalised SiLU networks on standardised states and changes, told apart
by exponential weights on the data; one member per trajectory step (TS1 of Chua et al. 2018).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks import EnsembleMLP, Learner, initialise
from baselines.replay import Batch

NORM_EPS = (0.0, 1.0, 0.1, 0.01)
DROPOUT = (0.0075, 0.005, 0.0025, 0.0)
WEIGHT_DECAY = (2.5e-4, 5e-4, 7.5e-4, 1e-3)
"""Per layer, the original's."""
NOISE_DECAY = 1e-2
STD_MIN = 1e-4
"""Least standard deviation a coordinate is divided by."""
NOISE_MIN = 1e-3
"""Least noise the likelihood rewards, in standard deviations of the output."""


class Standardise(nn.Module):
    """(x - mean) / std with the statistics of the data seen so far."""

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def fit(self, x: Tensor) -> None:
        """Take the statistics of x (n, dim)."""
        self.mean.copy_(x.mean(0))
        self.std.copy_(x.std(0, correction=0).clamp_min(STD_MIN))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def undo(self, x: Tensor) -> Tensor:
        return x * self.std + self.mean


class HomoscedasticEnsemble(Learner):
    """Predicts reward and change of state; ``step`` is differentiable in state and action.

    Args:
        obs_dim, action_dim: dimensions.
        members: networks; batches of ``step`` must be multiples of it.
        width: units of each of the three hidden layers.
        learning_rate: of AdamW.
    """

    def __init__(self, obs_dim: int, action_dim: int, members: int, width: int, learning_rate: float) -> None:
        super().__init__()
        self.standardise, self.outputs = Standardise(obs_dim), Standardise(1 + obs_dim)
        sizes = (obs_dim + action_dim, width, width, width, 1 + obs_dim)
        self.net = EnsembleMLP(members, sizes, F.silu, NORM_EPS, DROPOUT)
        initialise(self.net)
        self.log_noise = nn.Parameter(torch.zeros(members, 1, 1 + obs_dim))
        groups = [
            {"params": list(layer.parameters()), "weight_decay": decay}
            for layer, decay in zip(self.net.layers, WEIGHT_DECAY, strict=True)
        ]
        groups.append({"params": [self.log_noise], "weight_decay": NOISE_DECAY})
        self._optimizer = torch.optim.AdamW(groups, lr=learning_rate, fused=True)
        self._weights = torch.empty(0, members)

    def get_extra_state(self) -> dict[str, Any]:
        return super().get_extra_state() | {"weights": self._weights}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self._weights = state["weights"]

    @property
    def members(self) -> int:
        return self.net.members

    def calibrate(self, data: Batch) -> None:
        """Take the statistics of states and outputs from all data."""
        self.standardise.fit(data.obs)
        self.outputs.fit(torch.cat([data.reward[:, None], data.next_obs - data.obs], dim=1))

    def fit(self, data: Batch, batch_size: int) -> Tensor:
        """One gradient step on a random batch; ``data`` are all transitions in the order they came.

        Returns the loss: the negative log likelihood of the standardised outputs, summed over outputs, per member.
        """
        if len(self._weights) < len(data.obs):  # each member weighs each transition once and for all
            new = torch.empty(len(data.obs) - len(self._weights), self.members).exponential_()
            self._weights = torch.cat([self._weights, new])
        rows = torch.randint(len(data.obs), (batch_size,))
        obs = data.obs[rows]
        outputs = self.outputs(torch.cat([data.reward[rows, None], data.next_obs[rows] - obs], dim=1))
        x = torch.cat([self.standardise(obs), data.action[rows]], dim=1)
        nats = 0.5 * (self.net(x, dropping=True) - outputs).square() * (-2.0 * self.log_noise).exp()
        nats = nats + self.log_noise.clamp_min(math.log(NOISE_MIN))
        loss = (nats.sum(2) * self._weights[rows].T).mean(1).sum()
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.detach() / self.members

    def step(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Mean reward (n,) and a drawn next state (n, obs_dim), every block of n/members rows from one member."""
        x = torch.cat([self.standardise(obs), action], dim=1)
        blocks = torch.rand(self.members).argsort()  # the compiler stumbles over indices from randperm
        mean = self.net(x.view(self.members, -1, x.shape[1])[blocks])
        noise = torch.randn(mean.shape) * self.log_noise.detach().exp()
        noise[..., 0] = 0.0
        drawn = (mean + noise)[blocks.argsort()].reshape(len(obs), -1)
        outcome = self.outputs.undo(drawn)
        return outcome[:, 0], obs + outcome[:, 1:]
