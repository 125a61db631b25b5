"""MBPO's dynamics model: networks with Gaussian heads, of which the best on held-out data are used.

Chua et al. 2018 (arXiv 1805.12114) with the training of Janner et al. 2019 (arXiv 1906.08253, jannerm/mbpo).
"""

from __future__ import annotations

import math
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks import EnsembleMLP, Learner
from hjbbench.adam import Adam
from hjbbench.compiling import compiled

WEIGHT_DECAY = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)
"""L2 penalty per layer of the original."""
BATCH_SIZE = 256
HOLDOUT_SHARE, HOLDOUT_MAX = 0.2, 5000
PATIENCE = 5
"""Looks at the held-out error without improvement of any network that are waited for."""
IMPROVEMENT = 0.01
"""Relative decrease of the held-out error that counts as one."""
LEAST_STEPS = 16
"""Gradient steps between two looks, at least. The original looks once per epoch: 16 steps after its own warm-up, four
after the shared one."""


class GaussianEnsemble(Learner):
    """Networks that predict the mean and variance of outputs; training continues where the last one ended.

    Args:
        inputs, outputs: dimensions of x and y.
        members: networks trained.
        elites: networks used, the best on held-out data.
        width: units of each of the four hidden layers.
        learning_rate: of Adam.
    """

    mean: Tensor
    std: Tensor
    elite: Tensor

    def __init__(self, inputs: int, outputs: int, members: int, elites: int, width: int, learning_rate: float) -> None:
        super().__init__()
        self.outputs = outputs
        hidden = (width,) * (len(WEIGHT_DECAY) - 1)
        self.net = EnsembleMLP(members, (inputs, *hidden, 2 * outputs), F.silu)
        for layer in self.net.layers:
            spread = 0.5 / math.sqrt(layer.weight.shape[1])
            nn.init.trunc_normal_(layer.weight, std=spread, a=-2 * spread, b=2 * spread)
            nn.init.zeros_(layer.bias)
        self.max_log_variance = nn.Parameter(torch.full((outputs,), 0.5))
        self.min_log_variance = nn.Parameter(torch.full((outputs,), -10.0))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("std", torch.ones(inputs))
        self.register_buffer("elite", torch.arange(elites))
        layers = self.net.layers
        others = [*(layer.bias for layer in layers), self.max_log_variance, self.min_log_variance]
        self._optimizer = Adam([*(layer.weight for layer in layers), *others], learning_rate)
        self._decay = (*WEIGHT_DECAY, *(0.0 for _ in others))
        self._step = self._gradient_step

    def fuse(self) -> None:
        """Make a gradient step on a whole batch one compiled function."""
        self._step = compiled(self._gradient_step)

    def fit(self, x: Tensor, y: Tensor, max_epochs: int | None = None, least_steps: int = 0) -> dict[str, float]:
        """Train on x (n, inputs), y (n, outputs) until no network improves on the held-out part, and choose the elites.

        Every network sees its own bootstrap of the data and is set back to its best weights. Not before ``least_steps``
        gradient steps, in any case after ``max_epochs``. Returns the number of epochs and the elites' held-out mean
        squared error.
        """
        n_holdout = min(int(HOLDOUT_SHARE * len(x)), HOLDOUT_MAX)
        order = torch.randperm(len(x))
        x_out, y_out = x[order[:n_holdout]], y[order[:n_holdout]]
        x, y = x[order[n_holdout:]], y[order[n_holdout:]]
        self.mean.copy_(x.mean(0))
        std = x.std(0, correction=0)
        self.std.copy_(torch.where(std < 1e-12, torch.ones_like(std), std))
        x, x_out = (x - self.mean) / self.std, (x_out - self.mean) / self.std

        members = self.net.members
        rows = torch.randint(len(x), (members, len(x)))
        best_error = torch.full((members,), math.inf)
        best = [parameter.detach().clone() for parameter in self.net.parameters()]
        epoch = waited = 0
        between = math.ceil(LEAST_STEPS * BATCH_SIZE / len(x))
        least = math.ceil(least_steps / math.ceil(len(x) / BATCH_SIZE))
        most = sys.maxsize if max_epochs is None else max_epochs
        while (waited <= PATIENCE or epoch < least) and epoch < most:
            passes = min(between, most - epoch)
            for _ in range(passes):
                rows = self._pass(x, y, rows)
            epoch += passes
            error = self._errors(x_out, y_out)
            better = error < (1.0 - IMPROVEMENT) * best_error
            best_error = torch.where(better, error, best_error)
            for kept, parameter in zip(best, self.net.parameters(), strict=True):
                kept[better] = parameter.detach()[better]
            waited = 0 if better.any() else waited + 1
        with torch.no_grad():
            for kept, parameter in zip(best, self.net.parameters(), strict=True):
                parameter.copy_(kept)
        error, ranked = self._errors(x_out, y_out).sort()
        self.elite.copy_(ranked[: len(self.elite)])
        return {"model_epochs": float(epoch), "model_error": error[: len(self.elite)].mean().item()}

    def _pass(self, x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Learn from ``rows`` (members, n) of the data once, batch by batch; returns them in another order."""
        for batch in rows.split(BATCH_SIZE, dim=1):
            step = self._step if batch.shape[1] == BATCH_SIZE else self._gradient_step  # compiled for one shape
            step(x[batch], y[batch])
        return rows.gather(1, torch.rand(rows.shape).argsort(1))

    @torch.no_grad()
    def sample(self, x: Tensor) -> Tensor:
        """Draw y (n, outputs) for x (n, inputs), each row from a random elite; every elite gets an equal share."""
        n, members = len(x), len(self.elite)
        share = -(-n // members)
        order = torch.randperm(n)
        rows = torch.cat([order, order[: share * members - n]]).view(members, share)
        mean, log_variance = self._moments(((x - self.mean) / self.std)[rows], self.elite)
        drawn = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        y = torch.empty(n, self.outputs)
        y[order] = drawn.view(-1, self.outputs)[:n]
        return y

    def _moments(self, x: Tensor, members: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance, (members, n, outputs), for normalised x."""
        mean, raw = self.net(x, members).chunk(2, dim=-1)
        log_variance = self.max_log_variance - F.softplus(self.max_log_variance - raw)
        return mean, self.min_log_variance + F.softplus(log_variance - self.min_log_variance)

    def _gradient_step(self, x: Tensor, y: Tensor) -> None:
        mean, log_variance = self._moments(x)
        likelihood = ((mean - y).square() * (-log_variance).exp() + log_variance).mean((1, 2)).sum()
        bounds = 0.01 * (self.max_log_variance.sum() - self.min_log_variance.sum())
        parameters = self._optimizer.parameters
        gradients = torch.autograd.grad(likelihood + bounds, parameters)
        with torch.no_grad():
            decayed = [
                g + decay * p if decay else g for g, decay, p in zip(gradients, self._decay, parameters, strict=True)
            ]
        self._optimizer.step(decayed)

    @torch.no_grad()
    def _errors(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean squared error of every network, (members,)."""
        return (self._moments(x)[0] - y).square().mean((1, 2))
