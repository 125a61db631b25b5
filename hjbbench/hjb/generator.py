"""The learned diffusion generator of the controlled dynamics.

    ds = dt b(s, a) + sqrt(dt) g(s, a) z,   reward rate r(s, a)

An ensemble gives b and r. Each member is blind to one fold of the data, and its errors there teach one shared network
the scale g: in-sample errors are too small to be noise. ``residual`` learns the law of the held-out standardised
residual z and is used where it beats a normal z. All are trained on likelihood alone and never see a value.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hjbbench.compiling import compiled
from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.dynamics import Step, paired_noise
from hjbbench.hjb.folds import Folds
from hjbbench.hjb.networks import Ensemble, Standardiser, adamw, follow
from hjbbench.hjb.quadratic import QuadraticForm
from hjbbench.hjb.replay import Batch, Replay
from hjbbench.hjb.residual import ResidualField, energy_score

LEAST_ERROR = 1e-3
"""In normalised units: no coordinate is worth more than a thousand times a poorly predicted one."""
ERROR_RATE = 0.02
"""Averaging rate of the held-out errors."""
AVERAGE_RATE = 0.01
"""Averaging rate, per update, of the members' weights that predict: small batches shake the newest ones."""
PRIOR = 1000.0
"""Strength of the members' weight decay in transitions: a fixed normal prior counts less as data grow."""
MARGIN = 0.5
"""Sampled states stay within the data's range widened by this many standard deviations."""
DT_FEATURE = 0.2
"""Weight of log dt among the inputs: a drift hardly changes with dt, and data of all dt should inform it together."""
REWARD_WEIGHT = 4.0
"""The reward's share of the loss over that of a coordinate of the state: one among many, it would hardly be learned."""
LEAST_GAIN = 0.02
"""Relative gain in held-out energy score from which the diffusion is worth its network calls."""


class LearnedGenerator:
    """An ensemble whose members are trained on different folds of the transitions.

    States are (n, obs_dim) in the task's units, actions (n, action_dim), times in seconds. Every method works at the
    generator's own ``dt`` unless it is given another. ``terminated(s, a, s')`` is the task's known rule, or None.
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        dt: float,
        terminated: Callable[[Any, Any, Any], Any] | None,
        config: HJBConfig,
        rng: torch.Generator,
    ) -> None:
        self.dt, self.obs_dim, self.config, self._terminated, self._rng = dt, obs_dim, config, terminated, rng
        device, members, n_in = rng.device, config.generator_members, obs_dim + action_dim + 1
        self.folds = Folds(members)
        self.standardise = Standardiser(obs_dim, device)
        self.cost = QuadraticForm(obs_dim + action_dim, device)
        self.net = Ensemble(members, n_in, obs_dim + 1, config.width, 3, rng).to(device)
        self.scale_net = Ensemble(1, n_in, obs_dim, config.width, 2, rng, zero_output=True).to(device)
        self.average = copy.deepcopy(self.net).requires_grad_(False)
        self.optimiser = adamw(self.net.parameters(), config.generator_lr)
        self.scale_optimiser = adamw(self.scale_net.parameters(), config.generator_lr)
        self.residual = ResidualField(n_in, obs_dim, config.width, config.generator_lr, rng)
        with torch.no_grad():
            # A dt never trained on must not enter through a random weight: the drift and scale of the nearest dt hold.
            for net in (self.net, self.average, self.scale_net, self.residual.net):
                net.weights[0][:, n_in - 1] = 0
        zeros = torch.zeros(obs_dim + 1, device=device)
        # Of the increments: mean rate, and standard deviation per square root of a second (the reward's: of its rate).
        self.rate_mean, self.spread = zeros, zeros + 1
        self.error = zeros + 1
        self.low, self.high = zeros[:-1] - math.inf, zeros[:-1] + math.inf
        self.exit_reward = zeros[0]
        self.residual_calls = config.residual_calls if config.residual == "diffusion" else 0
        self.gain_of_diffusion = 0.0
        self.n_updates = 0
        self._loss = self._misfit

    def compile(self) -> None:
        """Fit with fused kernels from now on."""
        self._loss = compiled(self._misfit)

    # The law of one decision ------------------------------------------------------------------------------------------

    def _inputs(self, state: Tensor, action: Tensor, dt: Tensor | float) -> Tensor:
        if isinstance(dt, Tensor):
            feature = DT_FEATURE * (dt.log() - math.log(self.dt))[..., None]
        else:
            feature = state.new_full((*state.shape[:-1], 1), DT_FEATURE * math.log(dt / self.dt))
        return torch.cat([self.standardise(state), action, feature], -1)

    def _log_scale(self, x: Tensor) -> Tensor:
        # Within a factor of e^3 of the held-out error: the likelihood has no bottom on a deterministic plant.
        return self.error[:-1].log() + 3.0 * torch.tanh(self.scale_net(x)[0])

    def _in_blocks(self, x: Tensor) -> Tensor:
        """Rows (n, k) to (members, ceil(n / members), k): block e is member e's; the last row pads."""
        members = self.config.generator_members
        missing = -len(x) % members
        if missing:
            x = torch.cat([x, x[-1:].expand(missing, -1)])
        return x.view(members, -1, x.shape[-1])

    def noise(self, n_steps: int, n: int, rng: torch.Generator, antithetic: bool = False) -> Tensor:
        return paired_noise(n_steps, n, self.obs_dim, rng, antithetic)

    @torch.no_grad()
    def kick(self, state: Tensor, action: Tensor, noise: Tensor) -> Tensor:
        """The random part sqrt(dt) g z of increments, for standard normal ``noise`` (n, obs_dim) or (k, n, obs_dim)."""
        if self.config.residual == "deterministic":
            return torch.zeros_like(noise)
        x = self._inputs(state, action, self.dt)
        z = self.residual.sample(noise, x, self.residual_calls)
        return math.sqrt(self.dt) * self.spread[:-1] * self._log_scale(x).exp() * z

    def step(self, state: Tensor, action: Tensor, kick: Tensor) -> Step:
        """One decision of every row, each under one member; row blocks of equal size belong to the same member.

        Gradients flow through the drift and the reward.
        """
        n, d = state.shape
        x = self._inputs(state, action, self.dt)
        mean = self.average(self._in_blocks(x)).flatten(0, 1)[:n]
        unit = math.sqrt(self.dt) * self.spread[:d]
        next_state = torch.addcmul(state + self.dt * self.rate_mean[:d] + kick, unit, mean[:, :d])
        next_state = next_state.clamp(self.low, self.high)
        reward = self.dt * (self.rate_mean[d] + self.spread[d] * mean[:, d] + self.cost(x[:, :-1]))
        if self._terminated is None:
            return Step(next_state, reward, torch.zeros(n, dtype=torch.bool, device=state.device))
        with torch.no_grad():
            terminated = self._terminated(state, action, next_state)
        return Step(next_state, torch.where(terminated, self.exit_reward, reward), terminated)

    def drift(self, state: Tensor, action: Tensor, dt: float | None = None) -> Tensor:
        """b = E[ds]/dt, (n, obs_dim), the mean over the members."""
        dt = self.dt if dt is None else dt
        mean = self.average(self._inputs(state, action, dt)).mean(0)[:, : self.obs_dim]
        return self.rate_mean[:-1] + self.spread[:-1] / math.sqrt(self.dt) * mean

    def scale(self, state: Tensor, action: Tensor, dt: float | None = None) -> Tensor:
        """Diagonal g with Cov[ds] = g^2 dt, (n, obs_dim)."""
        dt = self.dt if dt is None else dt
        return self._log_scale(self._inputs(state, action, dt)).exp() * self.spread[:-1]

    def covariance(self, state: Tensor, action: Tensor, dt: float | None = None, n_samples: int = 256) -> Tensor:
        """Cov[ds]/dt, (n, obs_dim, obs_dim): diagonal for normal residuals, from ``n_samples`` draws otherwise."""
        dt = self.dt if dt is None else dt
        g = self.scale(state, action, dt)
        if not self.residual_calls:
            return torch.diag_embed(g * g)
        rows = self._inputs(state, action, dt).repeat_interleave(n_samples, 0)
        noise = paired_noise(1, len(rows), self.obs_dim, self._fresh_rng(), antithetic=True)[0]
        z = self.residual.sample(noise, rows, self.residual_calls).view(len(state), n_samples, -1)
        return (
            torch.diag_embed(g)
            @ torch.stack([torch.cov(one.T).view(self.obs_dim, -1) for one in z])
            @ torch.diag_embed(g)
        )

    @torch.no_grad()
    def sample(self, state: Tensor, action: Tensor, rng: torch.Generator, dt: float | None = None) -> Tensor:
        """Next states (n, obs_dim) after ``dt`` seconds."""
        dt = self.dt if dt is None else dt
        x = self._inputs(state, action, dt)
        mean = self.average(self._in_blocks(x)).flatten(0, 1)[: len(x), : self.obs_dim]
        z = self.residual.sample(self.noise(1, len(x), rng)[0], x, self.residual_calls)
        drift = self.rate_mean[:-1] + self.spread[:-1] / math.sqrt(self.dt) * mean
        return state + dt * drift + math.sqrt(dt) * self.scale(state, action, dt) * z

    def reward_rate(self, state: Tensor, action: Tensor) -> Tensor:
        """Expected reward per second, (n,), the mean over the members."""
        x = self._inputs(state, action, self.dt)
        mean = self.average(x).mean(0)[:, self.obs_dim]
        return self.rate_mean[-1] + self.spread[-1] * mean + self.cost(x[:, :-1])

    # Learning ---------------------------------------------------------------------------------------------------------

    def _targets(self, batch: Batch, x: Tensor) -> Tensor:
        """Increments and reward rates in normalised units, (..., obs_dim + 1), for a batch and its network inputs."""
        dt = batch.dt[..., None]
        ds = (batch.next_state - batch.state - dt * self.rate_mean[:-1]) / (dt.sqrt() * self.spread[:-1])
        rate = (batch.reward[..., None] / dt - self.rate_mean[-1] - self.cost(x[..., :-1])[..., None]) / self.spread[-1]
        return torch.cat([ds, rate], -1)

    def _miss(self, net: Ensemble, batch: Batch) -> tuple[Tensor, Tensor]:
        """Network inputs and the errors of ``net`` for a batch (members, n); rewards of exits are not its to know."""
        x = self._inputs(batch.state, batch.action, batch.dt)
        mean = net(x)
        factor = (batch.dt[..., None] / self.dt).sqrt()  # a drift grows as dt where the noise grows as sqrt(dt)
        mean = torch.cat([factor * mean[..., :-1], mean[..., -1:]], -1)
        error = self._targets(batch, x) - mean
        return x, torch.cat([error[..., :-1], error[..., -1:] * (1 - batch.terminated[..., None])], -1)

    @torch.no_grad()
    def look(self, replay: Replay) -> None:
        """Adopt the data's range, its quadratic cost if it has one and, at the first look, the networks' units.

        The units stay: networks whose weights were rescaled to follow them predicted worse ever after.
        """
        data = replay[:]
        exits = data.terminated > 0
        # The payoff at the boundary is a quantity of its own: what an exit pays once may be far from any other reward.
        if exits.any():
            self.exit_reward = data.reward[exits].mean()
        mean, std = data.state.mean(0), data.state.std(0) + 1e-3
        margin = MARGIN * std
        self.low, self.high = data.next_state.amin(0) - margin, data.next_state.amax(0) + margin
        self.optimiser.param_groups[0]["weight_decay"] = PRIOR / replay.size
        first = not self.n_updates
        if first:
            self.standardise.adopt(mean, std)
        lasting = ~exits if (~exits).sum() > 1 else slice(None)
        rate = (data.reward / data.dt)[lasting]
        x = self._inputs(data.state, data.action, self.dt)[lasting, :-1]
        if first or self.cost.trusted:  # later on it would overturn what the networks have learned
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
            batch = replay[self.folds.training(replay.size, self.config.generator_batch, self._rng)]
            loss = self._loss(batch)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            follow(self.average, self.net, AVERAGE_RATE)
            self.n_updates += 1
            if self.n_updates % self.config.scale_every == 0:
                self._fit_scale(replay)
            if self.config.residual in ("auto", "diffusion") and self.n_updates % self.config.residual_every == 0:
                z, condition = self.residuals(replay, self.config.generator_batch // 2)
                self.residual.fit(z, condition, self._rng)

    def _misfit(self, batch: Batch) -> Tensor:
        """Sum over the members of their mean squared errors, each coordinate over its own held-out error.

        Over the square of it, the likelihood's weight, the poorly predicted coordinates hardly count and stay poorly
        predicted; the half-way weight is that of the beta-NLL loss (Seitzer et al., 2022, beta = 1/2).
        """
        _, error = self._miss(self.net, batch)
        square = (error.square() / self.error).mean(1)
        return (square[:, :-1].sum(-1) + REWARD_WEIGHT * square[:, -1]).sum() / square.shape[-1]

    def _held_out(self, replay: Replay, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Network inputs and errors of about n transitions, each predicted by the member that has not seen it."""
        with torch.no_grad():
            batch = replay[self.folds.held_out(replay.size, max(1, n // self.config.generator_members), rng)]
            x, error = self._miss(self.average, batch)
            return x.flatten(0, 1), error.flatten(0, 1)

    def _fit_scale(self, replay: Replay) -> None:
        x, error = self._held_out(replay, self.config.generator_batch, self._rng)
        self.error = self.error.lerp(error.square().mean(0).sqrt() + LEAST_ERROR, ERROR_RATE)
        log_scale = self._log_scale(x)
        loss = (0.5 * (error[:, :-1] * (-log_scale).exp()).square() + log_scale).mean()
        self.scale_optimiser.zero_grad()
        loss.backward()
        self.scale_optimiser.step()

    @torch.no_grad()
    def residuals(self, replay: Replay, n: int, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """About n held-out standardised residuals z and their conditions."""
        x, error = self._held_out(replay, n, rng or self._rng)
        return error[:, :-1] * (-self._log_scale(x)).exp(), x

    @torch.no_grad()
    def judge_residual(self, replay: Replay, n: int = 2000) -> None:
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

    def _fresh_rng(self) -> torch.Generator:
        """A generator of its own for public queries, so that looking does not change the run."""
        return torch.Generator(self._rng.device).manual_seed(0)

    # State ------------------------------------------------------------------------------------------------------------

    STATISTICS = (
        "rate_mean",
        "spread",
        "error",
        "low",
        "high",
        "exit_reward",
        "residual_calls",
        "n_updates",
        "gain_of_diffusion",
    )

    def _modules(self) -> dict[str, Any]:
        names = ("standardise", "cost", "net", "average", "optimiser", "scale_net", "scale_optimiser", "residual")
        return {name: getattr(self, name) for name in names}

    def state_dict(self) -> dict[str, Any]:
        statistics = {name: getattr(self, name) for name in self.STATISTICS}
        return statistics | {name: module.state_dict() for name, module in self._modules().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.STATISTICS:
            setattr(self, name, state[name])
        for name, module in self._modules().items():
            module.load_state_dict(state[name])
