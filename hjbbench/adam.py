"""Adam (Kingma and Ba 2015, arXiv 1412.6980) as tensor operations, so that gradients and steps compile as one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.999)
EPS = 1e-8


class Adam:
    """``torch.optim.AdamW`` at its defaults but for the decay, given gradients.

    Without ``weight_decay`` it is ``torch.optim.Adam``; torch's own cannot be part of a compiled function.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float = 0.0) -> None:
        self.parameters, self.learning_rate = list(parameters), learning_rate
        self.weight_decay = weight_decay
        self.first = [torch.zeros_like(parameter, requires_grad=False) for parameter in self.parameters]
        self.second = [torch.zeros_like(parameter, requires_grad=False) for parameter in self.parameters]
        device = self.parameters[0].device
        self.count = torch.zeros((), device=device)
        self.size, self.scale = torch.empty((), device=device), torch.empty((), device=device)
        self._correct()

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Move the parameters, given the loss's gradient in each."""
        for parameter, gradient, first, second in zip(self.parameters, gradients, self.first, self.second, strict=True):
            first.lerp_(gradient, 1.0 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1.0 - BETAS[1])
            if self.weight_decay:
                parameter.mul_(1.0 - self.learning_rate * self.weight_decay)
            parameter.sub_(self.size * first / (second.sqrt() * self.scale + EPS))
        self._correct()

    def _correct(self) -> None:
        """Correct the next step for moments that began at zero; kept, or compiled code would do it per element."""
        self.count.add_(1.0)
        first_bias, second_bias = (-torch.expm1(self.count * math.log(beta)) for beta in BETAS)
        self.size.copy_(self.learning_rate / first_bias)
        self.scale.copy_(second_bias.rsqrt())

    def state_dict(self) -> dict[str, Any]:
        return {"moments": [*self.first, *self.second], "corrections": [self.count, self.size, self.scale]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        mine = [*self.first, *self.second, self.count, self.size, self.scale]
        for own, stored in zip(mine, [*state["moments"], *state["corrections"]], strict=True):
            own.copy_(stored)
