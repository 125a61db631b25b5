"""Gradients of small ReLU networks by hand: on one core, autograd's bookkeeping costs as much as the products."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.networks import EnsembleMLP


def forward(net: EnsembleMLP, x: Tensor) -> list[Tensor]:
    """Inputs of every layer of a ReLU network without dropout or normalisation, and its output last.

    x is (n, inputs), shared by all members; what follows is (members, n, units).
    """
    values = [x.expand(net.members, *x.shape)]
    for layer in net.layers[:-1]:
        values.append(torch.bmm(values[-1], layer.weight).add_(layer.bias).relu_())
    values.append(net.layers[-1](values[-1]))
    return values


def parameter_gradients(net: EnsembleMLP, values: list[Tensor], gradient: Tensor) -> list[Tensor]:
    """Gradient of a loss in every parameter, given that in the network's output, (members, n, outputs)."""
    gradients: list[Tensor] = []
    for index in reversed(range(len(net.layers))):
        if gradient.shape[2] == 1:
            in_weight = (values[index] * gradient).sum(1).unsqueeze(2)
        else:
            in_weight = torch.bmm(values[index].transpose(1, 2), gradient)
        gradients = [in_weight, gradient.sum(1, keepdim=True), *gradients]
        if index:
            gradient = through(net, index, values, gradient)
    return gradients


def input_gradient(net: EnsembleMLP, values: list[Tensor], gradient: Tensor, columns: slice) -> Tensor:
    """Gradient of the loss in the given columns of the shared input, (n, columns)."""
    for index in reversed(range(1, len(net.layers))):
        gradient = through(net, index, values, gradient)
    return torch.bmm(gradient, net.layers[0].weight[:, columns].transpose(1, 2)).sum(0)


def through(net: EnsembleMLP, index: int, values: list[Tensor], gradient: Tensor) -> Tensor:
    """Carry the gradient back through layer ``index`` and the ReLU in front of it."""
    back = net.layers[index].weight.transpose(1, 2)
    product = gradient * back if gradient.shape[2] == 1 else torch.bmm(gradient, back)
    return torch.ops.aten.threshold_backward(product, values[index], 0.0)
