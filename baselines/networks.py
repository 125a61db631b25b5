"""Networks of the model-based baselines: several equal ones computed at once, and the squashed Gaussian policy."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOG_STD_RANGE = (-20.0, 2.0)
"""Range of the policy's log standard deviation before squashing, as in Haarnoja et al. 2018."""


class EnsembleLinear(nn.Module):
    """``members`` linear layers as one batched product, initialised as ``torch.nn.Linear`` is."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(members, n, inputs) to (members, n, outputs)."""
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleMLP(nn.Module):
    """``members`` equal multilayer perceptrons computed at once.

    Args:
        members: number of networks.
        sizes: units of the input, the hidden layers and the output.
        activation: between the layers.
        layer_norm: normalise the input of every layer but the first, without learned scales.
        dropout: probability of dropping a hidden unit in training mode.
    """

    def __init__(
        self,
        members: int,
        sizes: tuple[int, ...],
        activation: Callable[[Tensor], Tensor] = F.relu_,
        layer_norm: bool = False,
        dropout: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        self.members = members
        self.layers = nn.ModuleList(EnsembleLinear(members, *pair) for pair in pairwise(sizes))
        self.activation = activation
        self.layer_norm = layer_norm
        self.dropout = dropout or (0.0,) * (len(sizes) - 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) shared by all members, or (members, n, inputs), to (members, n, outputs)."""
        if x.dim() == 2:
            x = x.expand(self.members, *x.shape)
        for index, layer in enumerate(self.layers):
            if index:
                x = self.activation(x)
                if self.layer_norm:
                    x = F.layer_norm(x, x.shape[-1:])
            x = layer(x)
            if self.training and self.dropout[index]:
                x = F.dropout(x, self.dropout[index])
        return x


class SquashedGaussian(nn.Module):
    """Policy a = tanh(mean(s) + std(s) noise), with the log probability of what it draws."""

    def __init__(
        self, obs_dim: int, action_dim: int, hidden: tuple[int, ...], activation: Callable[[Tensor], Tensor] = F.relu_
    ) -> None:
        super().__init__()
        sizes = (obs_dim, *hidden, 2 * action_dim)
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.activation = activation
        self.action_dim = action_dim

    def moments(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before squashing, (n, action_dim) each."""
        x = obs
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        mean, log_std = self.layers[-1](x).chunk(2, dim=-1)
        return mean, log_std.clamp(*LOG_STD_RANGE)

    def mode(self, obs: Tensor) -> Tensor:
        """The deterministic action, (n, action_dim)."""
        return torch.tanh(self.moments(obs)[0])

    def forward(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The actions that standard normal ``noise`` (n, action_dim) selects, and their log probabilities (n,)."""
        mean, log_std = self.moments(obs)
        raw = mean + log_std.exp() * noise
        normal = -0.5 * noise.square() - log_std - 0.5 * math.log(2.0 * math.pi)
        # log(1 - tanh(x)^2), written so that it neither overflows nor loses its digits
        squash = 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))
        return torch.tanh(raw), (normal - squash).sum(-1)
