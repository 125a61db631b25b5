"""Networks of the model-based baselines: several equal ones computed at once, and the squashed Gaussian policy."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hjbbench.adam import Adam

LOG_STD_RANGE = (-20.0, 2.0)
"""Range of the policy's log standard deviation before squashing, as in Haarnoja et al. 2018."""
LOG_2, HALF_LOG_2PI = math.log(2.0), 0.5 * math.log(2.0 * math.pi)


class Learner(nn.Module):
    """A module whose optimisers, attributes of it, are part of its state."""

    def get_extra_state(self) -> dict[str, Any]:
        return {name: optimizer.state_dict() for name, optimizer in self._optimizers().items()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        for name, optimizer in self._optimizers().items():
            optimizer.load_state_dict(state[name])

    def _optimizers(self) -> dict[str, torch.optim.Optimizer | Adam]:
        return {name: value for name, value in vars(self).items() if isinstance(value, (torch.optim.Optimizer, Adam))}


class EnsembleLinear(nn.Module):
    """``members`` linear layers as one batched product, initialised as ``torch.nn.Linear`` is."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        """(members, n, inputs) to (members, n, outputs), of the ``chosen`` members only where some are named."""
        weight, bias = (self.weight, self.bias) if chosen is None else (self.weight[chosen], self.bias[chosen])
        if weight.shape[2] == 1:  # matrix libraries are slow on a single column, elementwise products are not
            return (x * weight.transpose(1, 2)).sum(2, keepdim=True) + bias
        return torch.bmm(x, weight).add_(bias)


def drop(x: Tensor, probability: float) -> Tensor:
    """Dropout that draws which units to drop instead of a coin for each: many times faster at small probabilities."""
    mask = torch.full_like(x, 1.0 / (1.0 - probability), requires_grad=False)
    mask.view(-1)[torch.randint(x.numel(), (round(probability * x.numel()),))] = 0.0
    return x * mask


class EnsembleMLP(nn.Module):
    """``members`` equal multilayer perceptrons computed at once.

    Args:
        members: number of networks.
        sizes: units of the input, the hidden layers and the output.
        activation: between the layers.
        norm_eps: layer normalisation of each layer's input, without learned scales, adds this to the variance; 0: none.
        dropout: probability of dropping an output of each layer where ``forward`` is told to.
    """

    def __init__(
        self,
        members: int,
        sizes: tuple[int, ...],
        activation: Callable[[Tensor], Tensor] = F.relu_,
        norm_eps: tuple[float, ...] = (),
        dropout: tuple[float, ...] = (),
    ) -> None:
        super().__init__()
        self.members = members
        layers = nn.ModuleList(EnsembleLinear(members, *pair) for pair in pairwise(sizes))
        self.layers = cast(list[EnsembleLinear], layers)
        self.activation = activation
        self.norm_eps = norm_eps or (0.0,) * (len(sizes) - 1)
        self.dropout = dropout or (0.0,) * (len(sizes) - 1)

    def forward(self, x: Tensor, chosen: Tensor | None = None, dropping: bool = False) -> Tensor:
        """(n, inputs) shared by all members, or (members, n, inputs), to (members, n, outputs).

        ``chosen`` names the members to use, all by default.
        """
        if x.dim() == 2:
            x = x.expand(self.members if chosen is None else len(chosen), *x.shape)
        for index, layer in enumerate(self.layers):
            if index:
                x = self.activation(x)
            if self.norm_eps[index]:
                x = F.layer_norm(x, x.shape[-1:], eps=self.norm_eps[index])
            x = layer(x, chosen)
            if dropping and self.dropout[index]:
                x = drop(x, self.dropout[index])
        return x


def initialise(net: EnsembleMLP) -> None:
    """Kaiming's normal weights, which keep the size of what rectifiers pass on, and small normal offsets."""
    for layer in net.layers:
        inputs = layer.weight.shape[1]
        nn.init.normal_(layer.weight, std=math.sqrt(2.0 / inputs))
        nn.init.normal_(layer.bias, std=0.5 / math.sqrt(inputs))


class Squashed(NamedTuple):
    """Actions of a squashed Gaussian policy and what their gradients need."""

    action: Tensor
    """(n, action_dim)"""
    log_prob: Tensor
    """(n,)"""
    spread: Tensor
    """Standard deviation times noise, (n, action_dim)."""
    free: Tensor
    """Whether the log standard deviation is within its range, (n, action_dim)."""


class SquashedGaussian(nn.Module):
    """Policy a = tanh(mean(s) + std(s) noise), with the log probability of what it draws."""

    def __init__(
        self, obs_dim: int, action_dim: int, hidden: tuple[int, ...], activation: Callable[[Tensor], Tensor] = F.relu_
    ) -> None:
        super().__init__()
        self.net = EnsembleMLP(1, (obs_dim, *hidden, 2 * action_dim), activation)
        self.action_dim = action_dim

    def mode(self, obs: Tensor) -> Tensor:
        """The deterministic action, (n, action_dim)."""
        return torch.tanh(self.net(obs)[0, :, : self.action_dim])

    def forward(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The actions that standard normal ``noise`` (n, action_dim) selects, and their log probabilities (n,)."""
        drawn = self.squash(self.net(obs)[0], noise)
        return drawn.action, drawn.log_prob

    def squash(self, out: Tensor, noise: Tensor) -> Squashed:
        """The draw that ``noise`` selects, from the network's output (n, 2 action_dim)."""
        mean, free_log_std = out.chunk(2, dim=-1)
        log_std = free_log_std.clamp(*LOG_STD_RANGE)
        spread = log_std.exp() * noise
        raw = mean + spread
        # log(1 - tanh(x)^2) = 2 (log 2 - x - softplus(-2 x)), which neither overflows nor loses its digits
        squash = 2.0 * (LOG_2 - raw - F.softplus(-2.0 * raw))
        log_prob = (-0.5 * noise.square() - log_std - squash).sum(-1) - self.action_dim * HALF_LOG_2PI
        return Squashed(torch.tanh(raw), log_prob, spread, log_std == free_log_std)
