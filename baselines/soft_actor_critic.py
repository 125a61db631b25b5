"""The update of soft actor-critic, written for one core: a batched critic pair and no gradient that nobody uses.

The algorithm is Haarnoja et al. 2018 (arXiv 1812.05905) with the defaults of Stable-Baselines3; tests hold it to
Stable-Baselines3's own update. Twice as fast, it serves the agents that need many updates (MBPO) or another loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.backprop import forward, input_gradient, parameter_gradients
from baselines.networks import EnsembleMLP, Learner, Squashed, SquashedGaussian
from baselines.replay import Batch
from hjbbench.adam import Adam
from hjbbench.compiling import compiled

FIRST_TEMPERATURE, LEARNING_RATE, TAU = 0.1, 1e-3, 0.01
"""Of the SACs with one update per decision, chosen on the development tasks (docs/tuning-baselines.md, 13 and 34 to
41). With Stable-Baselines3's 1, 3e-4 and 0.005 they have -79 to 42 on half-cheetah after 25,000 decisions, where
published SACs have 1,533 to 4,403: the temperature needs 8,000 updates to fall to a tenth, and until then entropy
outweighs the reward. With a first temperature of 0.1 alone they have 1,211."""


@dataclass(frozen=True)
class SoftActorCriticConfig:
    """What an update needs to know."""

    discount: float
    """Per decision."""
    target_entropy: float
    """In nats."""
    hidden: tuple[int, ...] = (256, 256)
    learning_rate: float = 3e-4
    tau: float = 0.005
    """Polyak rate of the target critics."""
    log_std: float = 0.0
    """First log standard deviation of the policy."""
    first_temperature: float = 1.0


Penalty = Callable[[SquashedGaussian, Tensor, Tensor], Tensor]
"""(policy, observations, next observations) -> scalar added to the policy's loss."""


class SoftActorCritic(Learner):
    """Policy, two critics, their targets and the temperature; ``update`` makes one gradient step of each."""

    def __init__(
        self, obs_dim: int, action_dim: int, config: SoftActorCriticConfig, penalty: Penalty | None = None
    ) -> None:
        super().__init__()
        self.config, self.penalty = config, penalty
        self.policy = SquashedGaussian(obs_dim, action_dim, config.hidden)
        sizes = (obs_dim + action_dim, *config.hidden, 1)
        self.critics, self.targets = EnsembleMLP(2, sizes), EnsembleMLP(2, sizes).requires_grad_(False)
        self.targets.load_state_dict(self.critics.state_dict())
        self.log_temperature = nn.Parameter(torch.tensor(config.first_temperature).log())
        if config.log_std:
            self.policy.net.layers[-1].bias.data[..., action_dim:] = config.log_std
        self._critic_optimizer = Adam(self.critics.parameters(), config.learning_rate)
        self._policy_optimizer = Adam([*self.policy.parameters(), self.log_temperature], config.learning_rate)
        self._step = self._gradient_step

    def fuse(self) -> None:
        """Make a gradient step one compiled function: at these sizes half of it is the dispatch of small operations."""
        self._step = compiled(self._gradient_step)

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        """One gradient step of critics, policy and temperature on a batch, and one Polyak step of the targets."""
        extra = self._penalty_gradients(batch)
        self._step(batch, torch.randn(2 * len(batch.obs), self.policy.action_dim), extra)

    def _gradient_step(self, batch: Batch, noise: Tensor, extra: list[Tensor]) -> None:
        """The update, given the policy's noise here and at the next states, and what is added to its gradients."""
        n, temperature = len(batch.obs), self.log_temperature.exp()
        # one pass of the policy, here and at the next states: it does not change before its own step
        hidden = forward(self.policy.net, torch.cat([batch.obs, batch.next_obs]))
        drawn = self.policy.squash(hidden[-1][0], noise)
        target = self.target(batch, drawn.action, drawn.log_prob, temperature)
        self._critic_optimizer.step(self._critic_gradients(batch, target))
        here = Squashed(*(x[:n] for x in drawn))
        gradients = self._policy_gradients(batch.obs, [layer[:, :n] for layer in hidden], here, temperature)
        if extra:
            gradients = [gradient + more for gradient, more in zip(gradients, extra, strict=True)]
        in_temperature = -(here.log_prob.mean() + self.config.target_entropy)
        self._policy_optimizer.step([*gradients, in_temperature])
        for target_parameter, parameter in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
            target_parameter.lerp_(parameter, self.config.tau)

    def target(self, batch: Batch, action: Tensor, log_prob: Tensor, temperature: Tensor) -> Tensor:
        """What the critics are regressed on, (n,): r + gamma (min Q'(s', a') - temperature log pi(a'|s')).

        ``action`` (2n, action_dim) and ``log_prob`` (2n,) are the policy's at the batch's states, then at the next.
        """
        n = len(batch.obs)
        there = self.soft_value(batch.next_obs, action[n:], log_prob[n:], temperature)
        return batch.reward + self.config.discount * (1.0 - batch.terminated) * there

    def soft_value(self, obs: Tensor, action: Tensor, log_prob: Tensor, temperature: Tensor) -> Tensor:
        """One-sample estimate of the target critics' soft value, (n,)."""
        values = forward(self.targets, torch.cat([obs, action], dim=1))[-1]
        return values.amin(0).squeeze(1) - temperature * log_prob

    @torch.no_grad()
    def value(self, obs: Tensor) -> Tensor:
        """The smaller critic at the deterministic action, (n,)."""
        return self.critics(torch.cat([obs, self.policy.mode(obs)], dim=1)).amin(0).squeeze(1)

    def _critic_gradients(self, batch: Batch, target: Tensor) -> list[Tensor]:
        """Gradients of half the mean squared error, summed over the two critics."""
        values = forward(self.critics, torch.cat([batch.obs, batch.action], dim=1))
        return parameter_gradients(self.critics, values, (values[-1] - target[:, None]) / len(target))

    def _policy_gradients(
        self, obs: Tensor, hidden: list[Tensor], drawn: Squashed, temperature: Tensor
    ) -> list[Tensor]:
        """Gradients of mean(temperature log pi(a|s) - min Q(s, a)) in the policy.

        With a = tanh(x), x = mean + std noise: d log pi / dx = 2 a and d log pi / d log std = 2 a std noise - 1.
        """
        n, action = len(obs), drawn.action
        values = forward(self.critics, torch.cat([obs, action], dim=1))
        smaller = values[-1][0] <= values[-1][1]
        weights = torch.stack([smaller, ~smaller]).float() / -n
        in_action = input_gradient(self.critics, values, weights, slice(obs.shape[1], None))
        in_raw = in_action * (1.0 - action * action) + (2.0 / n) * temperature * action
        in_log_std = (in_raw * drawn.spread - temperature / n) * drawn.free
        return parameter_gradients(self.policy.net, hidden, torch.cat([in_raw, in_log_std], dim=1)[None])

    def _penalty_gradients(self, batch: Batch) -> list[Tensor]:
        """Gradients of the penalty in the policy; none where there is no penalty."""
        if self.penalty is None:
            return []
        with torch.enable_grad():
            penalty = self.penalty(self.policy, batch.obs, batch.next_obs)
            return list(torch.autograd.grad(penalty, list(self.policy.parameters())))
