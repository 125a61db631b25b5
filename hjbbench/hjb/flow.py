"""The Hamiltonian value flow dV/dtau = H(V), H(V) = r + L V - rho V, sampled with rollouts of a generator.

For a fixed policy the implicit Euler step of size T is a resolvent, and the resolvent is a return over an exponential
horizon: V+ = V + T H(V+) = (1 - T (L - rho))^-1 (V + T r) = E[int_0^t e^{-rho s} r ds + e^{-rho t} V(s_t)] with
t exponential of mean T. That is TD(lambda) with lambda = exp(-dt/T): no derivative of V is needed, the step is
monotone and a contraction by 1/(1 + rho T) for every T. The explicit step V + T H(V) and
the gradient form of the residual are here to compare with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hjbbench.compiling import compiled
from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.dynamics import Dynamics, Step
from hjbbench.hjb.value import Critic


class StochasticPolicy(Protocol):
    """What the flow needs of a policy."""

    def sample(self, state: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Actions (n, action_dim), their log densities (n,), and mean actions."""
        ...


class Rollout(NamedTuple):
    """H decisions of n trajectories, the policy's actions drawn from it."""

    state: Tensor
    """(H + 1, n, obs_dim)."""
    action: Tensor
    """(H + 1, n, action_dim)."""
    log_prob: Tensor
    """(H + 1, n)."""
    reward: Tensor
    """(H, n) per decision."""
    alive: Tensor
    """(H + 1, n), 1.0 until the episode has ended."""


class Targets(NamedTuple):
    """Regression data for Q: states (m, obs_dim), actions (m, action_dim), values (m,)."""

    state: Tensor
    action: Tensor
    value: Tensor


def advance(
    dynamics: Dynamics, policy: StochasticPolicy, state: Tensor, action_noise: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Step]:
    """One decision of the policy: actions, their log densities, and what follows."""
    action, log_prob, _ = policy.sample(state, action_noise)
    return action, log_prob, dynamics.step(state, action, dynamics.kick(state, action, noise))


@torch.no_grad()
def roll_out(
    dynamics: Dynamics,
    policy: StochasticPolicy,
    start: Tensor,
    action_noise: Tensor,
    noise: Tensor,
    advance: Callable[..., tuple[Tensor, Tensor, Step]] = advance,
    turn: int = 0,
) -> Rollout:
    """Follow the policy from ``start`` (n, obs_dim) for as many decisions as ``noise`` (H, n, .) has.

    The dynamics see the rows ``turn`` places further with every decision. Where blocks of rows belong to members of an
    ensemble, a block's length hands every trajectory from member to member: it follows their mean drift, while the
    error of one member's own would last and add up.
    """
    state, alive = start, torch.ones(len(start), device=start.device)
    states, actions, log_probs, rewards, alives = [start], [], [], [], [alive]
    for k in range(len(noise)):
        rows = (x.roll(k * turn, 0) for x in (state, action_noise[k], noise[k]))
        action, log_prob, step = advance(dynamics, policy, *rows)
        action, log_prob, state, reward, terminated = (x.roll(-k * turn, 0) for x in (action, log_prob, *step))
        alive = alive * ~terminated
        states.append(state)
        actions.append(action)
        log_probs.append(log_prob)
        rewards.append(reward)
        alives.append(alive)
    action, log_prob, _ = policy.sample(state, action_noise[-1])
    actions.append(action)
    log_probs.append(log_prob)
    return Rollout(*(torch.stack(x) for x in (states, actions, log_probs, rewards, alives)))


def td_lambda(
    reward: Tensor, next_value: Tensor, bonus: Tensor, alive: Tensor, discount: float, trace: float
) -> Tensor:
    """Truncated lambda-returns (H, n).

    reward and next_value are (H, n), alive (H, n) after the decision; bonus (H, n) is the entropy bonus of the decision
    that follows. next_value excludes that bonus. The last step bootstraps fully: the weights of the returns sum to 1.
    """
    target = next_value[-1] + bonus[-1]
    out = [reward[-1] + discount * alive[-1] * target]
    for k in range(len(reward) - 2, -1, -1):
        target = (1 - trace) * next_value[k] + trace * out[-1] + bonus[k]
        out.append(reward[k] + discount * alive[k] * target)
    return torch.stack(out[::-1])


class HamiltonianFlow:
    """Makes targets for the critic from distribution rollouts of any ``Dynamics``."""

    def __init__(
        self, dynamics: Dynamics, policy: StochasticPolicy, critic: Critic, action_dim: int, config: HJBConfig,
        rng: torch.Generator, step_decisions: float | None = None,
    ) -> None:  # fmt: skip
        self.dynamics, self.policy, self.critic, self.config = dynamics, policy, critic, config
        # An undiscounted problem has no discount horizon to measure the step by.
        self.step_decisions = step_decisions or config.flow_step / -math.log(critic.discount)
        """T/dt, the flow's step in decisions."""
        self._action_dim, self._rng = action_dim, rng
        self._advance = advance

    def compile(self) -> None:
        """Roll out with fused kernels from now on."""
        self._advance = compiled(advance)

    @property
    def trace(self) -> float:
        """lambda = exp(-dt/T) per decision."""
        return 0.0 if self.config.flow == "one-step" else math.exp(-1 / self.step_decisions)

    def roll_out(self, start: Tensor) -> Rollout:
        """A distribution rollout from ``start``; antithetic pairs share their start and their action noise."""
        h, n = self.config.rollout_steps, len(start)
        if self.config.antithetic:
            start = start[: (n + 1) // 2].repeat_interleave(2, 0)[:n]
        shape = (h + 1, n, self._action_dim)
        action_noise = torch.randn(shape, generator=self._rng, device=start.device)
        if self.config.antithetic:
            action_noise[:, 1::2] = action_noise[:, : n - n % 2 : 2]
        noise = self.dynamics.noise(h, n, self._rng, self.config.antithetic)
        turn = math.ceil(n / self.config.generator_members)
        return roll_out(self.dynamics, self.policy, start, action_noise, noise, self._advance, turn)

    @torch.no_grad()
    def targets(self, rollout: Rollout, price: Tensor) -> Targets:
        """One step of the flow at every living state of a rollout; ``price`` is the reward of a nat of entropy."""
        h, n = rollout.reward.shape
        bonus = -price * rollout.log_prob
        value = self.critic.bounded_target(rollout.state.flatten(0, 1), rollout.action.flatten(0, 1)).view(h + 1, n)
        discount, living = self.critic.discount, rollout.alive[:-1] > 0
        if self.config.flow == "explicit":
            change = rollout.reward + discount * rollout.alive[1:] * (value[1:] + bonus[1:]) - value[:-1]
            out = value[:-1] + self.step_decisions * change
        else:
            out = td_lambda(rollout.reward, value[1:], bonus[1:], rollout.alive[1:], discount, self.trace)
        return Targets(rollout.state[:-1][living], rollout.action[:-1][living], out[living])

    def residual(self, state: Tensor, price: Tensor) -> Tensor:
        """Gradient form of the HJB residual over rho: (V_x b + second order + r + entropy bonus)/rho - V, (members, n).

        The second-order term is half the second difference of V along +-sqrt(dt) g z, which needs no Hessian. Known not
        to select the viscosity solution where V has kinks: an ablation. The policy is held still by ``Critic.descend``,
        which moves the critic's weights alone.
        """
        dt, n, members = self.dynamics.dt, len(state), self.config.critics
        action_noise = torch.randn(n, self._action_dim, generator=self._rng, device=state.device)

        def value_at(states: Tensor) -> Tensor:
            """V(s) = Q(s, pi(s)): the action moves with s, its noise does not."""
            action, _, _ = self.policy.sample(states.flatten(0, 1), action_noise.repeat(members, 1))
            return self.critic.value(states, action.view(members, n, -1))

        with torch.no_grad():
            action, log_prob, _ = self.policy.sample(state, action_noise)
            drift, reward = self.dynamics.drift(state, action), dt * self.dynamics.reward_rate(state, action)
            kick = math.sqrt(dt) * self.dynamics.scale(state, action)
            kick = kick * torch.randn(kick.shape, generator=self._rng, device=state.device)
        # Every member gets its own copy of the states, so that one call differentiates all of them.
        states = state.expand(members, -1, -1).clone().requires_grad_()
        value = value_at(states)
        (slope,) = torch.autograd.grad(value.sum(), states, create_graph=True)
        bent = (value_at(states + kick) + value_at(states - kick) - 2 * value) / 2
        rho_dt = -math.log(self.critic.discount)
        return (dt * (slope * drift).sum(-1) + bent + reward - price * log_prob) / rho_dt - value

    @torch.no_grad()
    def hjb_residual(self, rollout: Rollout, price: Tensor) -> Tensor:
        """|r + e^{-rho dt} V(s') - V(s)| over the reward range: the weak form of the residual, root mean square."""
        h, n = rollout.reward.shape
        value = self.critic.value(rollout.state.flatten(0, 1), rollout.action.flatten(0, 1)).mean(0).view(h + 1, n)
        bonus = -price * rollout.log_prob[1:]
        change = rollout.reward + self.critic.discount * rollout.alive[1:] * (value[1:] + bonus) - value[:-1]
        return change[rollout.alive[:-1] > 0].square().mean().sqrt() / self.critic.reward_range
