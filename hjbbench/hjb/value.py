"""The value ensemble, with Q = V + dt (A - A(pi)).

Q(s, a) of a decision that lasts dt differs from V(s) by O(dt), so a network for Q loses the actions as dt goes to 0;
V and the advantage rate A do not (Tallec, Blier, Ollivier, 2019, eq. 12). A(pi) is A at an action drawn from the
policy, so V is the mean of Q under it. The entropy bonus counts from the next decision on.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from hjbbench.adam import Adam
from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.networks import Ensemble, Standardiser, follow

RANGE_PAD = 0.2
"""The bounds on values lie this share of the reward range outside it: a bound that bites is a wrong value."""

LEAST_RANGE = 1e-6
"""Reward per decision below which rewards count as equal."""


class Critic:
    """``config.critics`` members, their Polyak averages for targets, and the range a value can lie in.

    States are (n, obs_dim) in the task's units, values (members, n) in its reward units. ``discount`` is per decision.
    """

    def __init__(
        self, obs_dim: int, action_dim: int, discount: float, standardise: Standardiser, config: HJBConfig,
        rng: torch.Generator,
    ) -> None:  # fmt: skip
        self.discount, self.config, self._standardise, self._rng = discount, config, standardise, rng

        def net(n_in: int) -> Ensemble:
            return Ensemble(config.critics, n_in, 1, config.width, 2, rng, layer_norm=True, zero_output=True)

        self.nets = {"q": net(obs_dim + action_dim)}
        if config.critic == "advantage":
            self.nets = {"v": net(obs_dim), "a": net(obs_dim + action_dim)}
        self.target_nets = {name: copy.deepcopy(one).requires_grad_(False) for name, one in self.nets.items()}
        self.optimiser = Adam([p for one in self.nets.values() for p in one.parameters()], config.critic_lr)
        self.reward_low = torch.zeros((), device=rng.device)
        self.reward_high = torch.ones((), device=rng.device)
        self.exit_low = torch.zeros((), device=rng.device)
        self.exit_high = torch.zeros((), device=rng.device)
        self.bonus = torch.zeros((), device=rng.device)
        self.unit = torch.ones((), device=rng.device)

    @property
    def needs_action(self) -> bool:
        """Whether V(s) has to be read off Q at an action of the policy."""
        return self.config.critic == "q"

    @property
    def reward_range(self) -> Tensor:
        """Spread of the reward per decision, the unit of every price in the agent."""
        return (self.reward_high - self.reward_low).clamp(min=LEAST_RANGE)

    def value(
        self, state: Tensor, policy_action: Tensor | None, target: bool = False, members: Tensor | None = None
    ) -> Tensor:
        """V(s) of every member, or of ``members`` (k,)."""
        nets = self.target_nets if target else self.nets
        x = self._standardise(state)
        if self.needs_action:
            assert policy_action is not None
            return self.unit * nets["q"](torch.cat([x, policy_action], -1), members)[..., 0]
        return self.unit * nets["v"](x, members)[..., 0]

    def few(self) -> Tensor:
        """``critics_in_target`` random members."""
        order = torch.randperm(self.config.critics, generator=self._rng, device=self._rng.device)
        return order[: self.config.critics_in_target]

    def bounded_target(self, state: Tensor, policy_action: Tensor | None, members: Tensor | None = None) -> Tensor:
        """The least V(s) of a few target members, drawn unless given, within what the rewards allow; (n,)."""
        low, high = self.value_range()
        members = self.few() if members is None else members
        return self.value(state, policy_action, target=True, members=members).amin(0).clamp(low, high)

    def value_range(self) -> tuple[Tensor, Tensor]:
        """Bounds on V: the reward range, padded, and the mean entropy bonus, earned for ever; or what an exit pays."""
        pad = RANGE_PAD * self.reward_range
        low, high = (
            self.reward_low - pad + self.bonus.clamp(max=0.0),
            self.reward_high + pad + self.bonus.clamp(min=0.0),
        )
        return (
            torch.minimum(low / (1 - self.discount), self.exit_low),
            torch.maximum(high / (1 - self.discount), self.exit_high),
        )

    def q(self, state: Tensor, action: Tensor, policy_action: Tensor) -> Tensor:
        """Q(s, a) = V + dt (A - A(pi)) of every member; of one network for Q, ``value`` is that already.

        The factor is 1 - exp(-rho dt) = rho dt + O(dt^2): A is the advantage over a discount horizon, as V is.
        """
        x = self._standardise(state)
        both = torch.cat([torch.cat([x, x]), torch.cat([action, policy_action])], -1)
        here, policy = self.nets["a"](both)[..., 0].chunk(2, -1)
        return self.unit * (self.nets["v"](x)[..., 0] + (1 - self.discount) * (here - policy))

    def learn(
        self, state: Tensor, action: Tensor, target: Tensor,
        real_state: Tensor, real_action: Tensor, policy_action: Tensor, anchor: Tensor,
    ) -> Tensor:  # fmt: skip
        """One step on n states of a rollout and on m real ones, of which ``anchor`` (m,) is the target."""
        if self.needs_action:  # one network answers for both
            value = self.value(torch.cat([state, real_state]), torch.cat([action, real_action]))
            return self.descend(value - torch.cat([target, anchor]))
        # Rollout actions are the policy's own: A - A(pi) has mean 0 there and V alone is Q.
        rollout, real = self.value(state, action), self.q(real_state, real_action, policy_action)
        return self.descend(torch.cat([rollout - target, real - anchor], 1))

    def descend(self, error: Tensor) -> Tensor:
        """One step on the mean square of errors (members, n) in reward units; returns the loss in units of V."""
        loss = (error / self.unit).square().mean(1).sum()
        # Where errors of V alone are given, A has no gradient.
        parameters = self.optimiser.parameters
        self.optimiser.step(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))
        for name, net in self.nets.items():
            follow(self.target_nets[name], net, self.config.critic_rate)
        return loss.detach() / self.config.critics

    @torch.no_grad()
    def widen(self, reward: Tensor, exits: Tensor, bonus: Tensor, can_end: bool, rate: float) -> None:
        """Move the range towards the 1-99 % quantiles of ``reward`` (n,) and the mean entropy bonus.

        Rewards where ``exits`` (n,) is true, paid once and never again, only bound the values. Ending is worth 0 where
        it ``can_end``. The bonus stays out of the range: it is priced in units of it.
        """
        self.bonus = self.bonus.lerp(bonus.mean(), rate)
        if exits.any():
            self.exit_low = torch.minimum(self.exit_low, reward[exits].amin())
            self.exit_high = torch.maximum(self.exit_high, reward[exits].amax())
        if exits.all():
            return
        low, high = torch.quantile(reward[~exits], torch.tensor([0.01, 0.99], device=reward.device))
        if can_end:
            low, high = low.clamp(max=0.0), high.clamp(min=0.0)
        self.reward_low = self.reward_low.lerp(low, rate)
        self.reward_high = self.reward_high.lerp(high, rate)

    @torch.no_grad()
    def rescale(self) -> None:
        """Let the networks' unit, half of what values can span, follow the reward range; no value changes.

        The unit decides how far one step of Adam moves a value: in smaller ones values lag behind the policy.
        """
        low, high = self.value_range()
        unit = (high - low) / 2
        for nets in (self.nets, self.target_nets):
            for net in nets.values():
                net.rescale_output(self.unit / unit)
        self.unit = unit

    STATISTICS = ("reward_low", "reward_high", "exit_low", "exit_high", "bonus", "unit")

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.STATISTICS} | {
            "nets": {name: net.state_dict() for name, net in self.nets.items()},
            "target_nets": {name: net.state_dict() for name, net in self.target_nets.items()},
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.STATISTICS:
            setattr(self, name, state[name])
        for name, net in self.nets.items():
            net.load_state_dict(state["nets"][name])
            self.target_nets[name].load_state_dict(state["target_nets"][name])
        self.optimiser.load_state_dict(state["optimiser"])
