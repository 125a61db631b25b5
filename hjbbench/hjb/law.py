"""The law of one decision under the learned diffusion generator.

    ds = dt b(s, a) + sqrt(dt) g(s, a) z,   reward rate r(s, a)

An ensemble gives b and r, or a linear map a component of b that is linear; one shared network gives the scale g, and a
diffusion model the law of z where it is not normal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.dynamics import Step, paired_noise
from hjbbench.hjb.exits import Exits
from hjbbench.hjb.linear import LinearMap
from hjbbench.hjb.networks import Ensemble, Standardiser
from hjbbench.hjb.quadratic import QuadraticForm
from hjbbench.hjb.residual import ResidualField

DT_FEATURE = 0.2
"""Weight of log dt among the inputs: a drift hardly changes with dt, and data of all dt should inform it together."""


class GeneratorLaw:
    """Drift, scale, residual law and reward of one decision.

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
        self.dt, self.obs_dim, self.config, self._rng = dt, obs_dim, config, rng
        device, members, n_in = rng.device, config.generator_members, obs_dim + action_dim + 1
        self.standardise = Standardiser(obs_dim, device)
        self.cost = QuadraticForm(obs_dim + action_dim, device)
        self.net = Ensemble(members, n_in, obs_dim + 1, config.width, 3, rng, skip=True)
        self.linear = LinearMap(members, n_in, obs_dim, device)
        self.scale_net = Ensemble(1, n_in, obs_dim + 1, config.width, 2, rng, zero_output=True)
        self.residual = ResidualField(n_in, obs_dim, config.width, config.generator_lr, rng)
        self.exits = Exits(terminated, device)
        with torch.no_grad():
            # A dt never trained on must not enter through a random weight: the drift and scale of the nearest dt hold.
            for net in (self.net, self.scale_net, self.residual.net):
                net.weights[0][:, n_in - 1] = 0
        zeros = torch.zeros(obs_dim + 1, device=device)
        # Of the increments: mean rate, and standard deviation per square root of a second (the reward's: of its rate).
        self.rate_mean, self.spread = zeros, zeros + 1
        self.error = zeros + 1
        self.log_excess = zeros[:-1].clone()
        self.uniform, self.log_uniform = zeros[:-1] > 0, zeros[:-1].clone()
        self.low, self.high = zeros[:-1] - math.inf, zeros[:-1] + math.inf
        self.residual_calls = config.residual_calls if config.residual == "diffusion" else 0
        self.gain_of_diffusion = 0.0
        self.n_updates = 0

    def _inputs(self, state: Tensor, action: Tensor, dt: Tensor | float) -> Tensor:
        if isinstance(dt, Tensor):
            feature = DT_FEATURE * (dt.log() - math.log(self.dt))[..., None]
        else:
            feature = state.new_full((*state.shape[:-1], 1), DT_FEATURE * math.log(dt / self.dt))
        return torch.cat([self.standardise(state), action, feature], -1)

    def _mean(self, x: Tensor) -> Tensor:
        """Of increments and reward rate in normalised units, (members, n, obs_dim + 1)."""
        mean = self.net(x)
        return torch.cat([self.linear.correct(mean[..., :-1], x), mean[..., -1:]], -1)

    def _log_error(self, x: Tensor, scale_net: Ensemble | None = None) -> Tensor:
        """Logarithm of the error to expect at ``x`` (n, n_in) of increments and reward rate, (n, obs_dim + 1)."""
        # Within a factor of e^3 of the held-out error: the likelihood has no bottom on a deterministic plant.
        return self.error.log() + 3.0 * torch.tanh((scale_net or self.scale_net)(x)[0])

    def _log_scale(self, x: Tensor) -> Tensor:
        return torch.where(self.uniform, self.log_uniform, self._log_error(x)[..., :-1] + self.log_excess)

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
        x = self._inputs(state, action, self.dt)
        return math.sqrt(self.dt) * self.spread[:-1] * self._log_scale(x).exp() * self.standard(noise, x)

    def standard(self, noise: Tensor, x: Tensor) -> Tensor:
        """Standardised residuals z at inputs ``x`` (n, n_in) of the law in use, from standard normal ``noise``."""
        if self.config.residual == "deterministic":
            return torch.zeros_like(noise)
        return self.residual.sample(noise, x, self.residual_calls)

    def step(self, state: Tensor, action: Tensor, kick: Tensor) -> Step:
        """One decision of every row, each under one member; row blocks of equal size belong to the same member.

        Gradients flow through the drift and the reward.
        """
        next_state, reward = self._move(state, action, kick)
        ended = self.exits.reached(state, action, next_state)
        last = self.exits.payoff + self.exits.earned(state, action, next_state, reward)
        return Step(next_state, torch.where(ended, last, reward), ended)

    def _move(self, state: Tensor, action: Tensor, kick: Tensor | float) -> tuple[Tensor, Tensor]:
        """The next states (n, obs_dim) and the running reward (n,), as if no episode could end."""
        n, d = state.shape
        x = self._inputs(state, action, self.dt)
        mean = self._mean(self._in_blocks(x)).flatten(0, 1)[:n]
        unit = math.sqrt(self.dt) * self.spread[:d]
        next_state = torch.addcmul(state + self.dt * self.rate_mean[:d] + kick, unit, mean[:, :d])
        reward = self.dt * (self.rate_mean[d] + self.spread[d] * mean[:, d] + self.cost(x[:, :-1]))
        return next_state.clamp(self.low, self.high), reward

    def drift(self, state: Tensor, action: Tensor, dt: float | None = None) -> Tensor:
        """b = E[ds]/dt, (n, obs_dim), the mean over the members."""
        dt = self.dt if dt is None else dt
        mean = self._mean(self._inputs(state, action, dt)).mean(0)[:, : self.obs_dim]
        return self.rate_mean[:-1] + self.spread[:-1] / math.sqrt(self.dt) * mean

    def scale(self, state: Tensor, action: Tensor, dt: float | None = None) -> Tensor:
        """Diagonal g with Cov[ds] = g^2 dt, (n, obs_dim)."""
        dt = self.dt if dt is None else dt
        return self._log_scale(self._inputs(state, action, dt)).exp() * self.spread[:-1]

    def covariance(self, state: Tensor, action: Tensor, dt: float | None = None, n_samples: int = 256) -> Tensor:
        """Cov[ds]/dt, (n, obs_dim, obs_dim): diagonal for normal residuals, from ``n_samples`` draws otherwise."""
        dt = self.dt if dt is None else dt
        g = self.scale(state, action, dt)
        if self.config.residual == "deterministic":
            return torch.diag_embed(torch.zeros_like(g))
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
        """Next states (n, obs_dim) after ``dt`` seconds, of the law that rollouts draw from."""
        dt = self.dt if dt is None else dt
        x = self._inputs(state, action, dt)
        mean = self._mean(self._in_blocks(x)).flatten(0, 1)[: len(x), : self.obs_dim]
        z = self.standard(self.noise(1, len(x), rng)[0], x)
        drift = self.rate_mean[:-1] + self.spread[:-1] / math.sqrt(self.dt) * mean
        next_state = state + dt * drift + math.sqrt(dt) * self.scale(state, action, dt) * z
        return next_state.clamp(self.low, self.high)

    def reward_rate(self, state: Tensor, action: Tensor) -> Tensor:
        """Expected reward per second, (n,), the mean over the members."""
        x = self._inputs(state, action, self.dt)
        mean = self._mean(x).mean(0)[:, self.obs_dim]
        return self.rate_mean[-1] + self.spread[-1] * mean + self.cost(x[:, :-1])

    @property
    def least_time(self) -> bool:
        """Whether the task is to end the episode soon, of a linear plant whose noise is the same everywhere.

        The reward rate is one negative number then, the Hamiltonian r + b V_s + g^2 V_ss / 2 linear in the action, and
        its maximum an end of the action's range (the bang-bang principle: Liberzon, 2012, section 4.4).
        """
        linear = bool(self.linear.used.all() & self.uniform.all())
        return linear and self.cost.constant and bool(self.cost.high < 0)

    def _fresh_rng(self) -> torch.Generator:
        """A generator of its own for public queries, so that looking does not change the run."""
        return torch.Generator(self._rng.device).manual_seed(0)

    # State ------------------------------------------------------------------------------------------------------------

    STATISTICS = (
        "rate_mean",
        "spread",
        "error",
        "log_excess",
        "uniform",
        "log_uniform",
        "low",
        "high",
        "residual_calls",
        "n_updates",
        "gain_of_diffusion",
    )

    MODULES: tuple[str, ...] = ("standardise", "cost", "linear", "net", "scale_net", "residual", "exits")

    def _modules(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.MODULES}

    def state_dict(self) -> dict[str, Any]:
        statistics = {name: getattr(self, name) for name in self.STATISTICS}
        return statistics | {name: module.state_dict() for name, module in self._modules().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.STATISTICS:
            setattr(self, name, state[name])
        for name, module in self._modules().items():
            module.load_state_dict(state[name])
