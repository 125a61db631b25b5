"""A linear map fitted by least squares: a drift that needs no network.

Much of a plant is linear: a position follows its velocity, a filter its input, a regulator's plant altogether. There a
network only adds its own noise, which on a stochastic linear plant is a quarter of the plant's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

RIDGE = 1e-6
"""Of the inputs' mean square, times the number of rows: directions the data say nothing about stay out."""
SIGNIFICANT = 4.0
"""Standard errors from which the network is said to know something that the linear map misses: every coordinate is
looked at every thousand decisions, and one false alarm put the value of lqr-d2 off by 9 instead of 3 %. Coordinates of
hopper, half-cheetah and pendulum have 7 to 24 after the first thousand."""
LEAST_SHARE = 0.01
"""Of the network in the best mixture of both, from which that is worth having: where a plant is linear and without
noise, the map's rounding errors are its only ones, and about those anything may be significant."""


def with_one(x: Tensor) -> Tensor:
    """(1, x) for rows x (..., size)."""
    return torch.cat([torch.ones_like(x[..., :1]), x], -1)


class LinearMap:
    """x -> (1, x) W for inputs (n, size) or (members, n, size); each member has the W of the folds it may learn from.

    ``used`` (n_out,) says which outputs are linear as far as anybody can tell.
    """

    def __init__(self, members: int, size: int, n_out: int, device: torch.device) -> None:
        self.weight = torch.zeros(members, size + 1, n_out, device=device)
        self.used = torch.zeros(n_out, dtype=torch.bool, device=device)

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs (members, n, n_out)."""
        if x.dim() == 2:
            x = x.expand(len(self.weight), *x.shape)
        return torch.baddbmm(self.weight[:, :1], x, self.weight[:, 1:])

    def correct(self, learned: Tensor, x: Tensor) -> Tensor:
        """``learned`` (members, n, n_out) where the outputs are not linear, the map where they are."""
        return torch.where(self.used, self(x), learned)

    def fit(self, x: Tensor, target: Tensor, fold: Tensor, factor: Tensor) -> None:
        """Least squares of ``factor`` (n, 1) times the map of x (n, size) to targets (n, n_out), its noise being even.

        Member e leaves out the rows of ``fold`` (n,) e.
        """
        y = (factor * with_one(x)).double()
        target = target.double()
        members = range(len(self.weight))
        squares = torch.stack([y[fold == e].T @ y[fold == e] for e in members])
        products = torch.stack([y[fold == e].T @ target[fold == e] for e in members])
        squares, products = squares.sum(0) - squares, products.sum(0) - products
        ridge = RIDGE * squares.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        eye = torch.eye(y.shape[1], dtype=torch.float64, device=x.device)
        self.weight.copy_(torch.linalg.solve(squares + ridge * eye, products))  # in place: compiled functions hold it

    def judge(self, error: Tensor, error_of_network: Tensor) -> None:
        """Use the map in the outputs where the network's difference from it says nothing about its held-out errors.

        Both errors are (n, n_out) and held out. Where the plant is linear that difference is the network's noise and
        has no covariance with the error of the map; where it is not, a network that learned anything has a positive
        one (encompassing of forecasts: Chong and Hendry, Review of Economic Studies 53, 1986).
        """
        difference = error - error_of_network
        product = difference * error
        known = product.mean(0) > SIGNIFICANT * product.std(0) / math.sqrt(len(product))
        matters = product.mean(0) > LEAST_SHARE * difference.square().mean(0)
        self.used.copy_(~(known & matters))

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight, "used": self.used}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight.copy_(state["weight"])
        self.used.copy_(state["used"])
