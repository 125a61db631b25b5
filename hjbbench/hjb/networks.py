"""Ensembles of small MLPs, evaluated together by batched matrix products."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

LANES = 16
"""Columns a matrix product computes at once on a CPU: of fewer, or of an odd number, it takes up to four times as long,
so that output layers have a multiple of them and the surplus is cut off."""


class Ensemble(nn.Module):
    """``members`` independent SiLU networks: (n, n_in) or (members, n, n_in) -> (members, n, n_out).

    ``layer_norm`` normalises the hidden layers without gain or offset; ``zero_output`` starts the function at 0. With
    ``skip`` the output layer sees the inputs beside the last hidden layer and starts blind to them.
    """

    def __init__(
        self,
        members: int,
        n_in: int,
        n_out: int,
        width: int,
        depth: int,
        rng: torch.Generator,
        layer_norm: bool = False,
        zero_output: bool = False,
        skip: bool = False,
    ) -> None:
        super().__init__()
        sizes = [n_in] + [width] * depth + [LANES * math.ceil(n_out / LANES)]
        self.n_in, self.n_out, self.layer_norm, self.skip = n_in, n_out, layer_norm, skip
        # Variance 1/fan-in in the hidden layers; half of that at the output, so that a fresh network says little.
        gains = [1.0] * depth + [0.0 if zero_output else 0.5]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(members, i, o, generator=rng, device=rng.device) * math.sqrt(gain / i))
            for gain, i, o in zip(gains, sizes, sizes[1:], strict=False)
        )
        if skip:
            blind = torch.zeros(members, n_in, sizes[-1], device=rng.device)
            self.weights[-1] = nn.Parameter(torch.cat([self.weights[-1].data, blind], 1))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(members, 1, o, device=rng.device)) for o in sizes[1:])
        if layer_norm:
            # With zero offsets a normalised layer sees the direction of its input and not its size.
            self.biases[0].data.normal_(generator=rng)

    def forward(self, x: Tensor, members: Tensor | None = None) -> Tensor:
        """Outputs of all members, or of those listed in ``members`` (k,)."""
        last = len(self.weights) - 1
        if x.dim() == 2:
            x = x.expand(len(self.weights[0]) if members is None else len(members), *x.shape)
        inputs = x
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if members is not None:
                weight, bias = weight[members], bias[members]
            if layer == last and self.skip:
                x = torch.cat([x, inputs], -1)
            x = torch.baddbmm(bias, x, weight)
            if layer < last:
                x = functional.silu(functional.layer_norm(x, x.shape[-1:]) if self.layer_norm else x)
        return x[..., : self.n_out]

    @torch.no_grad()
    def rescale_input(self, ratio: Tensor, shift: Tensor) -> None:
        """Keep the function when its first inputs change units: what was x is now ``ratio`` x + ``shift``."""
        seen = [(self.weights[0], self.biases[0])]
        if self.skip:
            seen.append((self.weights[-1][:, -self.n_in :], self.biases[-1]))
        for weight, bias in seen:
            rows = weight[:, : len(ratio)]
            bias += (shift[:, None] * rows).sum(1, keepdim=True)
            rows *= ratio[:, None]

    @torch.no_grad()
    def rescale_output(self, ratio: Tensor) -> None:
        """Multiply the outputs by ``ratio``."""
        self.weights[-1] *= ratio
        self.biases[-1] *= ratio


class Standardiser:
    """The affine map between raw states and network inputs: (x - mean) / std."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.mean = torch.zeros(size, device=device)
        self.std = torch.ones(size, device=device)
        self._gain, self._offset = self.std.clone(), self.mean.clone()

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addcmul(self._offset, x, self._gain)

    def adopt(self, mean: Tensor, std: Tensor, nets: Iterable[Ensemble] = ()) -> None:
        """Take other units, and let no function of ``nets`` change by it."""
        for net in nets:
            net.rescale_input(std / self.std, (mean - self.mean) / self.std)
        # In place: compiled functions hold these tensors.
        self.mean.copy_(mean)
        self.std.copy_(std)
        self._gain.copy_(1 / std)
        self._offset.copy_(-mean / std)

    def state_dict(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "std": self.std}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.adopt(state["mean"], state["std"])


def fused_adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Adam:
    """Adam as one kernel over all parameters, for steps that are not compiled."""
    return torch.optim.Adam(parameters, lr=lr, fused=True)


@torch.no_grad()
def follow(target: nn.Module, source: nn.Module, rate: float) -> None:
    """Polyak averaging: target += rate (source - target)."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), rate)


@contextmanager
def held(*nets: nn.Module) -> Iterator[None]:
    """Hold networks still: what is computed inside passes gradients on to their inputs only."""
    for net in nets:
        net.requires_grad_(False)
    try:
        yield
    finally:
        for net in nets:
            net.requires_grad_(True)
