"""How the diffusion generator is learned: on likelihood alone, without ever seeing a value.

Each member is blind to one fold of the data, and its errors there teach one shared network the scale g: in-sample
errors are too small to be noise. ``residual`` learns the law of the held-out standardised residual z and is used where
it beats a normal z; a linear map is, where the network knows nothing better.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hjbbench.adam import Adam
from hjbbench.compiling import compiled
from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.dynamics import paired_noise
from hjbbench.hjb.folds import Folds
from hjbbench.hjb.law import GeneratorLaw
from hjbbench.hjb.networks import follow
from hjbbench.hjb.replay import Batch, Replay
from hjbbench.hjb.residual import energy_score

LEAST_ERROR = 1e-3
"""In normalised units: no coordinate is worth more than a thousand times a poorly predicted one."""
ERROR_RATE = 0.02
"""Averaging rate of the held-out errors."""
SCALE_RATE = 0.005
"""Averaging rate of the scale's weights, per update: the newest give a noise variance that is off by 6 % now this way,
now that, and the value of a noisy plant with it."""
WEIGHT_DECAY = 1e-4
"""Of the members. What holds them back, more decay or averaged weights, helps on a fixed set of transitions and cost
the half-cheetah a quarter of its early return, where the data follow the policy."""
MARGIN = 0.5
"""Sampled states stay within the data's range widened by this many standard deviations."""
REWARD_WEIGHT = 4.0
"""The reward's share of the loss over that of a coordinate of the state: one among many, it would hardly be learned."""
MOST_JUDGED = 20_000
"""Held-out transitions, none twice, by which the linear map and the scale are judged at most."""
LEAST_NATS = 0.08
"""Log-likelihood per transition from which a scale that depends on state and action is worth more than one number. It
is judged by the errors it was taught on: on lqr-d8, where the noise is the same everywhere, it gains 0.02 to 0.04 by
learning them by heart, and the variance is off by -8 to 15 % where the policy goes. On robots it gains 0.24 to 1.3."""
LEAST_GAIN = 0.02
"""Relative gain in held-out energy score from which the diffusion is worth its network calls."""


class LearnedGenerator(GeneratorLaw):
    """The law, and an ensemble whose members are trained on different folds of the transitions."""

    MODULES = (*GeneratorLaw.MODULES, "newest_scale_net", "optimiser", "scale_optimiser")

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        dt: float,
        terminated: Callable[[Any, Any, Any], Any] | None,
        config: HJBConfig,
        rng: torch.Generator,
    ) -> None:
        super().__init__(obs_dim, action_dim, dt, terminated, config, rng)
        self.folds = Folds(config.generator_members)
        self.optimiser = Adam(self.net.parameters(), config.generator_lr, WEIGHT_DECAY)
        self.newest_scale_net = copy.deepcopy(self.scale_net)
        self.scale_net.requires_grad_(False)
        self.scale_optimiser = Adam(self.newest_scale_net.parameters(), config.generator_lr)
        self._descend, self._descend_scale = self._step, self._step_scale

    def compile(self) -> None:
        """Fit with fused kernels from now on, from the errors to the weights."""
        self._descend, self._descend_scale = compiled(self._step), compiled(self._step_scale)

    def _targets(self, batch: Batch, x: Tensor) -> Tensor:
        """Increments and reward rates in normalised units, (..., obs_dim + 1), for a batch and its network inputs."""
        dt = batch.dt[..., None]
        ds = (batch.next_state - batch.state - dt * self.rate_mean[:-1]) / (dt.sqrt() * self.spread[:-1])
        rate = (batch.reward[..., None] / dt - self.rate_mean[-1] - self.cost(x[..., :-1])[..., None]) / self.spread[-1]
        return torch.cat([ds, rate], -1)

    def _factor(self, batch: Batch) -> Tensor:
        """A drift grows as dt where the noise grows as sqrt(dt): (..., 1), 1 at the generator's own dt."""
        return (batch.dt[..., None] / self.dt).sqrt()

    def _miss(self, batch: Batch, predict: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Network inputs and the members' errors for a batch (members, n); rewards of exits are not theirs to know."""
        x = self._inputs(batch.state, batch.action, batch.dt)
        mean = predict(x)
        mean = torch.cat([self._factor(batch) * mean[..., :-1], mean[..., -1:]], -1)
        error = self._targets(batch, x) - mean
        return x, torch.cat([error[..., :-1], error[..., -1:] * (1 - batch.terminated[..., None])], -1)

    @torch.no_grad()
    def look(self, replay: Replay) -> None:
        """Adopt the data's range, its quadratic cost if it has one and, at the first look, the networks' units.

        The units stay: networks whose weights were rescaled to follow them predicted worse ever after.
        """
        data = replay[:]
        mean, std = replay.state_units()
        margin = MARGIN * std
        self.low, self.high = data.next_state.amin(0) - margin, data.next_state.amax(0) + margin
        first = not self.n_updates
        if not (first or self.cost.trusted):  # a form adopted later would overturn what the networks have learned
            return
        if first:
            self.standardise.adopt(mean, std)
        lasting = _lasting(data)
        rate = (data.reward / data.dt)[lasting]
        x = self._inputs(data.state, data.action, self.dt)[lasting, :-1]
        self.cost.learn(x, rate)
        if not first:
            return
        rate = rate - self.cost(x)
        dt = data.dt[:, None]
        ds = data.next_state - data.state
        self.rate_mean = torch.cat([ds.mean(0) / dt.mean(), rate.mean()[None]])
        spread = torch.cat([((ds - dt * self.rate_mean[:-1]) / dt.sqrt()).std(0), rate.std()[None]])
        # A coordinate that never moved keeps a unit that is small but not zero.
        least = torch.cat([std / math.sqrt(self.dt), self.rate_mean[-1:].abs() + 1e-4])
        self.spread = torch.maximum(spread, 1e-4 * least)

    def fit(self, replay: Replay, n_updates: int) -> None:
        """Gradient steps on the likelihood: of the members on their folds, of the scale on what they have not seen."""
        for _ in range(n_updates):
            self._descend(replay[self.folds.training(replay.size, self.config.generator_batch, self._rng)])
            self.n_updates += 1
            if self.n_updates % self.config.scale_every == 0:
                self._descend_scale(self._draw_held_out(replay, self.config.generator_batch, self._rng))
            if self.config.residual in ("auto", "diffusion") and self.n_updates % self.config.residual_every == 0:
                z, condition = self.residuals(replay, self.config.generator_batch // 2)
                self.residual.fit(z, condition, self._rng)

    def _step(self, batch: Batch) -> None:
        self.optimiser.step(torch.autograd.grad(self._misfit(batch), self.optimiser.parameters))

    def _misfit(self, batch: Batch) -> Tensor:
        """Sum over the members of their mean squared errors, each over the error expected of that coordinate there.

        Over the square of it, the likelihood's weight, the poorly predicted coordinates hardly count and stay poorly
        predicted; the half-way weight is that of the beta-NLL loss (Seitzer et al., 2022, beta = 1/2).
        """
        x, error = self._miss(batch, self.net)  # of the network alone, which keeps learning what is linear too
        with torch.no_grad():
            expected = self._log_error(x.flatten(0, 1)).exp().view(error.shape)
        square = (error.square() / expected).mean(1)
        return (square[:, :-1].sum(-1) + REWARD_WEIGHT * square[:, -1]).sum() / square.shape[-1]

    def _draw_held_out(self, replay: Replay, n: int, rng: torch.Generator) -> Batch:
        """About n transitions (members, n / members), each for the member that has not seen it."""
        return replay[self.folds.held_out(replay.size, max(1, n // self.config.generator_members), rng)]

    @torch.no_grad()
    def _held_out(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Network inputs and errors (n, .) of transitions (members, n / members)."""
        x, error = self._miss(batch, self._mean)
        return x.flatten(0, 1), error.flatten(0, 1)

    def _step_scale(self, batch: Batch) -> None:
        x, error = self._held_out(batch)
        self.error.lerp_(error.square().mean(0).sqrt() + LEAST_ERROR, ERROR_RATE)
        log_error = self._log_error(x, self.newest_scale_net)
        nats = 0.5 * (error * (-log_error).exp()).square() + log_error
        loss = (nats * (error != 0)).mean()  # an error of exactly 0 is the reward of an exit, of which nothing is known
        self.scale_optimiser.step(torch.autograd.grad(loss, self.scale_optimiser.parameters))
        follow(self.scale_net, self.newest_scale_net, SCALE_RATE)

    @torch.no_grad()
    def residuals(self, replay: Replay, n: int, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """About n held-out standardised residuals z and their conditions."""
        x, error = self._held_out(self._draw_held_out(replay, n, rng or self._rng))
        return error[:, :-1] * (-self._log_scale(x)).exp(), x

    @torch.no_grad()
    def judge(self, replay: Replay) -> None:
        """Use what forecasts held-out transitions best: of the drift, of the scale and of the residual's law."""
        self._judge_scale(*self._judge_linear(replay))
        self._judge_residual(replay)
        self.exits.timed = self.least_time
        self._learn_exits(replay)

    def _learn_exits(self, replay: Replay) -> None:
        """The mean of what exits have paid beside what they earned until then."""
        data = replay[:]
        exits = data.terminated > 0
        if exits.any():
            state, action, reward = data.state[exits], data.action[exits], data.reward[exits]
            self.exits.payoff = (reward - self.exits.earned(state, action, *self._move(state, action, 0.0))).mean()

    def _judge_scale(self, x: Tensor, error: Tensor) -> None:
        """Bring the scale to the errors' variance, and use one number for a coordinate where that forecasts as well.

        A likelihood's scale is off by a few per cent, from the noise of gradients, and what a noisy plant earns goes
        with its square.
        """
        variance = error.square().mean(0)
        error_now = variance.sqrt() + LEAST_ERROR
        self.error[:-1] = torch.where(self.linear.used, error_now, self.error[:-1])  # no average of the network's
        log_error = self._log_error(x)[:, :-1]
        variance = variance + 1e-12
        self.log_excess.copy_(0.5 * (variance / (2 * log_error).exp().mean(0)).log())
        self.log_uniform.copy_(0.5 * variance.log())
        nats = (0.5 * (error * (-log_error).exp()).square() + log_error).mean(0)
        self.uniform.copy_(0.5 + self.log_uniform - nats < LEAST_NATS)

    def _judge_linear(self, replay: Replay) -> tuple[Tensor, Tensor]:
        """Fit the linear map, use it where the network knows nothing better; inputs (n, n_in), errors (n, obs_dim).

        Exits are left out: a plant that stops on the boundary cuts its last increment short.
        """
        fold = self.folds.of(replay.size, self._rng.device)
        data = replay[: len(fold)]
        lasting = _lasting(data)
        data, fold = Batch(*(x[lasting] for x in data)), fold[lasting]
        x, factor = self._inputs(data.state, data.action, data.dt), self._factor(data)
        self.linear.fit(x, self._targets(data, x)[..., :-1], fold, factor)
        held_out = replay[self.folds.held_out_once(replay.size, MOST_JUDGED, self._rng.device)]
        self.linear.used.fill_(True)
        x, linear = self._miss(held_out, self._mean)
        _, learned = self._miss(held_out, self.net)
        lasting = _lasting(held_out)
        linear, learned = linear[..., :-1][lasting], learned[..., :-1][lasting]
        self.linear.judge(linear, learned)
        return x[lasting], torch.where(self.linear.used, linear, learned)

    def _judge_residual(self, replay: Replay, n: int = 2000) -> None:
        """Use the diffusion where it is the better forecast of held-out residuals."""
        config = self.config
        if config.residual not in ("auto", "diffusion"):
            return
        z, condition = self.residuals(replay, n)
        self.residual.match_moments(z, condition, config.residual_calls, self._rng)
        if config.residual == "auto":
            z, condition = self.residuals(replay, n)
            noise = paired_noise(2, len(z), self.obs_dim, self._rng, antithetic=False)
            drawn = torch.stack([self.residual.sample(e, condition, config.residual_calls) for e in noise])
            gain = energy_score(noise, z) - energy_score(drawn, z)
            self.gain_of_diffusion = (gain.mean() / energy_score(noise, z).mean()).item()
            # Three standard errors: an unneeded network call in every sampled step is the cost of a false alarm.
            better = gain.mean() > 3 * gain.std() / math.sqrt(len(gain)) and self.gain_of_diffusion > LEAST_GAIN
            self.residual_calls = config.residual_calls if better else 0


def _lasting(batch: Batch) -> Tensor:
    """Which transitions did not end an episode, bool; all of them where hardly any did not."""
    lasting = batch.terminated == 0
    return lasting if lasting.sum() > 1 else torch.ones_like(lasting)
