"""The value flow and the critic against chains and plants whose values are known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.dynamics import Step, paired_noise
from hjbbench.hjb.flow import HamiltonianFlow, StochasticPolicy, roll_out, td_lambda
from hjbbench.hjb.networks import Standardiser
from hjbbench.hjb.value import Critic

RHO, CPU = 0.5, torch.device("cpu")


@dataclass
class KnownOU:
    """ds = -s dt + sigma dW with reward rate -s^2: V = -(s^2 + sigma^2/rho) / (2 + rho), whatever the action."""

    dt: float = 0.05
    sigma: float = 0.3

    def noise(self, n_steps: int, n: int, rng: torch.Generator, antithetic: bool = False) -> Tensor:
        return paired_noise(n_steps, n, 1, rng, antithetic)

    def kick(self, state: Tensor, action: Tensor, noise: Tensor) -> Tensor:
        return math.sqrt(self.dt) * self.sigma * noise

    def step(self, state: Tensor, action: Tensor, kick: Tensor) -> Step:
        following = state + self.dt * self.drift(state, action) + kick
        reward = self.dt * self.reward_rate(state, action)
        return Step(following, reward, torch.zeros(len(state), dtype=torch.bool))

    def drift(self, state: Tensor, action: Tensor) -> Tensor:
        return -state

    def scale(self, state: Tensor, action: Tensor) -> Tensor:
        return torch.full_like(state, self.sigma)

    def reward_rate(self, state: Tensor, action: Tensor) -> Tensor:
        return -state[:, 0].square()

    def value(self, state: Tensor) -> Tensor:
        return -(state[:, 0].square() + self.sigma**2 / RHO) / (2 + RHO)


class Drawn:
    """A policy that plays its noise, with no entropy."""

    def sample(self, state: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return noise, torch.zeros(len(state)), torch.zeros_like(noise)


class Leaning(Drawn):
    """A policy that looks at the state: V(s) = Q(s, pi(s)) moves with s through it too."""

    def sample(self, state: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        action = torch.tanh(-1.5 * state + 0.15 * noise)
        return action, torch.zeros(len(state)), action


def flow_on(dynamics: KnownOU, policy: StochasticPolicy | None = None, **settings) -> HamiltonianFlow:
    config = HJBConfig(**{"width": 64, "rollout_batch": 64, "critic_rate": 0.05, "critic": "advantage", **settings})
    rng = torch.Generator().manual_seed(0)
    critic = Critic(1, 1, math.exp(-RHO * dynamics.dt), Standardiser(1, CPU), config, rng)
    critic.reward_low, critic.reward_high = torch.tensor(-4.0 * dynamics.dt), torch.tensor(0.0)
    critic.rescale()
    return HamiltonianFlow(dynamics, policy or Drawn(), critic, 1, config, rng)


def learn(flow: HamiltonianFlow, n_flows: int) -> float:
    """Relative L2 error of V over [-1.5, 1.5] after ``n_flows`` rollouts of twenty critic steps."""
    rng = torch.Generator().manual_seed(1)
    price = torch.zeros(())
    for _ in range(n_flows):
        start = torch.rand(64, 1, generator=rng) * 4 - 2
        data = flow.targets(flow.roll_out(start), price)
        for _ in range(20):
            index = torch.randint(0, len(data.value), (128,), generator=rng)
            if flow.config.flow == "pinn":
                flow.critic.descend(flow.residual(data.state[index], price))
            else:
                flow.critic.descend(flow.critic.value(data.state[index], data.action[index]) - data.value[index])
    state = torch.linspace(-1.5, 1.5, 101)[:, None]
    with torch.no_grad():
        action, _, _ = flow.policy.sample(state, torch.zeros(101, 1))
        estimate = flow.critic.value(state, action).mean(0)
    exact = flow.dynamics.value(state)
    return ((estimate - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("critic", ["advantage", "q"])
def test_resolvent_flow_reaches_the_exact_value(critic: str) -> None:
    assert learn(flow_on(KnownOU(), critic=critic, antithetic=True), 40) < 0.10


def test_the_resolvent_is_ahead_of_one_step_flow_at_equal_updates() -> None:
    assert learn(flow_on(KnownOU()), 8) < 0.5 * learn(flow_on(KnownOU(), flow="one-step"), 8)


@pytest.mark.parametrize("critic", ["advantage", "q"])
def test_the_gradient_form_reaches_a_smooth_value_too(critic: str) -> None:
    assert learn(flow_on(KnownOU(), Leaning(), flow="pinn", critic=critic), 20) < 0.15


def test_lambda_one_and_zero_are_monte_carlo_and_one_step() -> None:
    rng = torch.Generator().manual_seed(0)
    reward, value, bonus = torch.randn(3, 4, 5, generator=rng)
    alive, gamma = torch.ones(4, 5), 0.9
    one_step = td_lambda(reward, value, bonus, alive, gamma, 0.0)
    torch.testing.assert_close(one_step, reward + gamma * (value + bonus))
    returns = td_lambda(reward, value, bonus, alive, gamma, 1.0)
    expected = sum(gamma**k * (reward[k] + gamma * bonus[k]) for k in range(4)) + gamma**4 * value[3]
    torch.testing.assert_close(returns[0], expected)


def test_nothing_is_earned_after_the_end() -> None:
    reward, value, bonus = torch.ones(3, 3, 1)
    alive = torch.tensor([[1.0], [0.0], [0.0]])
    returns = td_lambda(reward, 100 * value, bonus, alive, 0.9, 1.0)
    assert returns[1].item() == 1.0
    assert returns[0].item() == pytest.approx(1 + 0.9 * (1.0 + 1.0))


def test_a_flow_step_contracts_the_error_as_the_implicit_step_should() -> None:
    """A constant reward: V+ - V* = (V - V*) / (1 + T rho) for rollouts long enough."""
    flow = flow_on(KnownOU(dt=0.05), flow_step=0.5, rollout_steps=400)
    h, gamma = flow.config.rollout_steps, flow.critic.discount
    zero = torch.zeros(h, 1)
    out = td_lambda(torch.ones(h, 1), zero, zero, torch.ones(h, 1), gamma, flow.trace)[0].item()
    exact = 1 / (1 - gamma)
    assert out == pytest.approx(exact * (1 - 1 / 1.5), rel=0.03)  # of order dt


def test_explicit_flow_overshoots_where_the_resolvent_does_not() -> None:
    """V + T H(V) amplifies V where T/dt > 2/(1 - gamma P): rough values grow, the resolvent averages them."""
    flow = flow_on(KnownOU(), flow_step=0.5)
    explicit = flow_on(KnownOU(), flow_step=0.5, flow="explicit")
    for one in (flow, explicit):
        with torch.no_grad():
            for net in one.critic.target_nets.values():
                net.weights[-1].normal_(generator=torch.Generator().manual_seed(2))
        one.critic.reward_low, one.critic.reward_high = torch.tensor(-1e6), torch.tensor(1e6)  # bounds out of the way
    start = torch.randn(64, 1, generator=torch.Generator().manual_seed(3))
    spread = [one.targets(one.roll_out(start), torch.zeros(())).value.std().item() for one in (explicit, flow)]
    assert spread[0] > 2 * spread[1]


def test_rescaling_keeps_every_value() -> None:
    critic = flow_on(KnownOU()).critic
    with torch.no_grad():
        critic.nets["v"].weights[-1].normal_()
    state = torch.randn(20, 1)
    before = critic.value(state, None)
    critic.reward_high = torch.tensor(3.0)
    critic.rescale()
    torch.testing.assert_close(critic.value(state, None), before)


@torch.no_grad()
def test_q_is_v_at_the_policys_own_action_and_of_order_dt_from_it_elsewhere() -> None:
    state, action, rates = torch.randn(20, 1), torch.rand(20, 1), []
    for dt in (0.05, 0.0125):
        critic = flow_on(KnownOU(dt)).critic
        for net in critic.nets.values():
            net.weights[-1].normal_(generator=torch.Generator().manual_seed(2))
        value = critic.value(state, None)
        torch.testing.assert_close(critic.q(state, action, action), value)
        rates.append((critic.q(state, action, -action) - value) / (1 - critic.discount) / critic.unit)
    assert rates[0].abs().mean() > 0.1
    torch.testing.assert_close(rates[0], rates[1], rtol=1e-3, atol=1e-3)


def test_targets_stay_within_what_the_rewards_allow() -> None:
    critic = flow_on(KnownOU()).critic
    with torch.no_grad():
        critic.target_nets["v"].weights[-1].normal_(std=50.0)
    low, high = critic.value_range()
    target = critic.bounded_target(torch.randn(200, 1), None)
    assert low <= target.min()
    assert target.max() <= high


def test_opposite_noises_of_a_pair_cancel_on_a_linear_plant() -> None:
    plant, start = KnownOU(), torch.randn(20, 1, generator=torch.Generator().manual_seed(3))
    state = flow_on(plant, antithetic=True).roll_out(start).state
    noiseless = start[:10] * (1 - plant.dt) ** torch.arange(len(state))[:, None, None]
    torch.testing.assert_close((state[:, ::2] + state[:, 1::2]) / 2, noiseless)
    assert (state[1:, ::2] != state[1:, 1::2]).all()


@dataclass
class Disagreeing(KnownOU):
    """Two members, of one block of rows each, that push apart: the mean does not move."""

    def step(self, state: Tensor, action: Tensor, kick: Tensor) -> Step:
        half = len(state) // 2
        push = torch.cat([torch.full((half, 1), 1.0), torch.full((len(state) - half, 1), -1.0)])
        return Step(state + push, state[:, 0], torch.zeros(len(state), dtype=torch.bool))


def test_rollouts_are_handed_from_member_to_member() -> None:
    start, noise = torch.arange(6.0)[:, None], torch.zeros(4, 6, 1)
    alone, handed_on = (
        roll_out(Disagreeing(), Drawn(), start, torch.zeros(5, 6, 1), noise, turn=turn).state for turn in (0, 3)
    )
    assert (alone[4] - start).abs().eq(4).all()
    torch.testing.assert_close(handed_on[4], start)
    torch.testing.assert_close(handed_on[1, :, 0], torch.tensor([1.0, 2.0, 3.0, 2.0, 3.0, 4.0]))
