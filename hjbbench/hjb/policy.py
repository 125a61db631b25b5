"""The policy and its improvement: the argmax of the Hamiltonian along the generator.

K generator steps are differentiated end to end: J = E[sum_{k<K} e^{-rho k dt} (r_k + bonus_k) + e^{-rho K dt} V(s_K)].
With K = 1 this is the Hamiltonian itself, up to terms without the action. Where it is known to be linear in the action,
what is evaluated is its maximiser, an end of the action's range, to which a policy with entropy to keep can only point.
"""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hjbbench.adam import Adam
from hjbbench.compiling import compiled
from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.dynamics import Dynamics
from hjbbench.hjb.networks import Ensemble, Standardiser, follow
from hjbbench.hjb.value import Critic

LEAST_STD = 1e-2
"""Of an action before squashing: a density that stays finite."""
DUAL_LR = 1e-2
"""Step of the smoothness weight's logarithm: a factor of e in about a hundred updates."""
DUAL_SPAN = 4.0
"""Logarithm of the smoothness weight's highest value over its lowest."""
OVERDRIVE = 2.0
"""Gain of a bang-bang policy on its mean action. A sign would flip at every decision where the Hamiltonian's slope in
an action is next to nothing, and win nothing by it: 14 changes per s on eikonal-d2 instead of 2, at no loss."""


class Improvement(NamedTuple):
    """What a batch of pathwise rollouts says of the policy."""

    objective: Tensor
    """Mean J, in reward units."""
    entropy: Tensor
    """Nats per decision."""
    rate: Tensor
    """Mean square rate of the mean action per dimension, 1/s^2."""
    champ: Tensor
    """Carre du champ of the mean action per dimension, E|pi(s'_1) - pi(s'_2)|^2 / (2 dt), 1/s."""


class Policy:
    """A tanh-Gaussian policy over actions in [-1, 1], and the running average of its weights that is evaluated."""

    def __init__(
        self, obs_dim: int, action_dim: int, standardise: Standardiser, config: HJBConfig, rng: torch.Generator
    ) -> None:
        self.action_dim, self.config, self._standardise, self._rng = action_dim, config, standardise, rng
        self.net = Ensemble(1, obs_dim, 2 * action_dim, config.width, 2, rng)
        self.average = copy.deepcopy(self.net).requires_grad_(False)
        self.nets = (self.net, self.average)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature), device=rng.device))
        self.log_weight = torch.tensor(math.log(config.smoothness_max), device=rng.device)
        self.rate_target = torch.tensor(config.action_rate, device=rng.device)
        """Of the actions per dimension, 1/s."""
        self.optimiser = Adam(self.net.parameters(), config.policy_lr)
        self.temperature_optimiser = Adam([self.log_temperature], config.temperature_lr)
        self.gradient_norm = torch.zeros((), device=rng.device)
        self.bang_bang = False
        """Whether the Hamiltonian's maximum is known to be at an end of each action's range."""
        self._ascend = self._step

    def compile(self) -> None:
        """Improve with fused kernels from now on, from the look ahead to the last average."""
        self._ascend = compiled(self._step)

    def keep_pace(self, state_rate: Tensor) -> None:
        """Let actions change as fast as states that change at ``state_rate``, 1/s, call for."""
        self.rate_target.copy_(self.config.action_rate * state_rate)

    @property
    def temperature(self) -> Tensor:
        """Price of a nat per decision, over the reward range."""
        return self.log_temperature.detach().exp()

    def sample(self, state: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Actions for standard normal ``noise`` (n, action_dim), their log densities (n,), and the mean actions."""
        mean, raw = self.net(self._standardise(state))[0].chunk(2, -1)
        std = functional.softplus(raw) + LEAST_STD
        action = torch.tanh(torch.addcmul(mean, std, noise))
        density = (std * (1 - action * action + 1e-5)).log() + 0.5 * noise * noise
        return action, -(density + 0.5 * math.log(2 * math.pi)).sum(-1), torch.tanh(mean)

    def mean(self, state: Tensor) -> Tensor:
        """The averaged policy's action, without noise; carried on to an end of its range where that is best."""
        action = self._noiseless(self.average, state)
        return (OVERDRIVE * action).clamp(-1, 1) if self.bang_bang else action

    def _noiseless(self, net: Ensemble, state: Tensor) -> Tensor:
        return torch.tanh(net(self._standardise(state))[0][:, : self.action_dim])

    def _follow(
        self, dynamics: Dynamics, critic: Critic, start: Tensor, action_noise: Tensor, noise: Tensor
    ) -> Improvement:
        """J and its relatives, differentiable in the policy's weights."""
        price = self.temperature * critic.reward_range
        steps, n, dt = self.config.policy_steps, len(start), dynamics.dt
        smooth = self.config.smoothness != "off"
        state, weight, objective = start, torch.ones(n, device=start.device), torch.zeros(n, device=start.device)
        rate = champ = entropy = torch.zeros((), device=start.device)
        action, log_prob, mean = self.sample(state, action_noise[0])
        # The noise's law is taken at the start: over K decisions it hardly changes, and one look is K times cheaper.
        kicks = dynamics.kick(state, action, noise)
        for k in range(steps):
            following, reward, terminated = dynamics.step(state, action, kicks[k])
            objective = objective + weight * (reward - price * log_prob)
            if k == 0:
                entropy = -log_prob.mean()
                if self.config.smoothness == "rate+champ":
                    other = dynamics.step(state, action, kicks[steps]).next_state
                    one, two = self._noiseless(self.net, following), self._noiseless(self.net, other)
                    champ = (one - two).square().mean() / (2 * dt)
            state, weight, before = following, critic.discount * weight * ~terminated, mean
            action, log_prob, mean = self.sample(state, action_noise[k + 1])
            if smooth:
                rate = rate + ((weight > 0) * (mean - before).square().mean(-1)).mean() / (steps * dt**2)
        # The critic counts entropy from the next decision on; the one it is asked about earns its own.
        objective = objective + weight * (critic.value(state, action).mean(0) - price * log_prob)
        return Improvement(objective.mean(), entropy, rate, champ)

    def improve(self, dynamics: Dynamics, critic: Critic, start: Tensor) -> Improvement:
        """One gradient step up J from ``start`` (n, obs_dim), less the price of rough actions, and one of the duals."""
        steps, n = self.config.policy_steps, len(start)
        action_noise = torch.randn(steps + 1, n, self.action_dim, generator=self._rng, device=start.device)
        # A further row of noise is for the carre du champ.
        noise = dynamics.noise(steps + (self.config.smoothness == "rate+champ"), n, self._rng)
        result, self.gradient_norm = self._ascend(dynamics, critic, start, action_noise, noise)
        return result

    def _step(
        self, dynamics: Dynamics, critic: Critic, start: Tensor, action_noise: Tensor, noise: Tensor
    ) -> tuple[Improvement, Tensor]:
        result = self._follow(dynamics, critic, start, action_noise, noise)
        loss = -result.objective / critic.reward_range
        if self.config.smoothness != "off":
            target = self.rate_target
            # In units of the target rate, and of decisions: the second term's time constant is 1/target.
            loss = loss + self.log_weight.exp() * (result.rate / target**2 + result.champ / target)
            highest = math.log(self.config.smoothness_max)
            excess = (result.rate.detach() / target**2 - 1).clamp(-1, 1)
            self.log_weight.copy_((self.log_weight + DUAL_LR * excess).clamp(highest - DUAL_SPAN, highest))
        gradients = torch.autograd.grad(loss, self.optimiser.parameters)
        result = Improvement(*(x.detach() for x in result))
        norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
        share = (self.config.gradient_norm / (norm + 1e-6)).clamp(max=1.0)
        self.optimiser.step([share * gradient for gradient in gradients])
        too_much = result.entropy - self.config.entropy * self.action_dim
        self.temperature_optimiser.step([self.temperature * too_much])
        follow(self.average, self.net, self.config.policy_average)
        return result, norm

    def state_dict(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "log_temperature": self.log_temperature.detach(),
            "log_weight": self.log_weight,
            "rate_target": self.rate_target,
            "bang_bang": self.bang_bang,
            "optimiser": self.optimiser.state_dict(),
            "temperature_optimiser": self.temperature_optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        with torch.no_grad():
            self.log_temperature.copy_(state["log_temperature"])
        self.log_weight, self.rate_target = state["log_weight"], state["rate_target"]
        self.bang_bang = state["bang_bang"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.temperature_optimiser.load_state_dict(state["temperature_optimiser"])
