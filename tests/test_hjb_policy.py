"""The Hamiltonian argmax against brute force, and what its gradient may and may not touch."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.dynamics import Step, paired_noise
from hjbbench.hjb.generator import LearnedGenerator
from hjbbench.hjb.networks import Standardiser
from hjbbench.hjb.policy import Policy
from hjbbench.hjb.replay import Replay
from hjbbench.hjb.value import Critic

CPU = torch.device("cpu")


class Track:
    """ds = a dt, reward rate -(s + a)^2: the best action of one decision with no value beyond it is -s."""

    dt = 0.1

    def noise(self, n_steps: int, n: int, rng: torch.Generator, antithetic: bool = False) -> Tensor:
        return paired_noise(n_steps, n, 1, rng, antithetic)

    def kick(self, state: Tensor, action: Tensor, noise: Tensor) -> Tensor:
        return math.sqrt(self.dt) * 0.1 * noise

    def step(self, state: Tensor, action: Tensor, kick: Tensor) -> Step:
        reward = self.dt * self.reward_rate(state, action)
        return Step(state + self.dt * action + kick, reward, torch.zeros(len(state), dtype=torch.bool))

    def drift(self, state: Tensor, action: Tensor) -> Tensor:
        return action

    def scale(self, state: Tensor, action: Tensor) -> Tensor:
        return torch.full_like(state, 0.1)

    def reward_rate(self, state: Tensor, action: Tensor) -> Tensor:
        return -(state + action)[:, 0].square()


def parts(rng: torch.Generator, **settings) -> tuple[Policy, Critic]:
    config = HJBConfig(**{"width": 32, **settings})
    policy = Policy(1, 1, Standardiser(1, CPU), config, rng)
    critic = Critic(1, 1, 0.99, Standardiser(1, CPU), config, rng)
    return policy, critic


def rate_of(policy: Policy, track: Track, start: Tensor) -> float:
    with torch.no_grad():
        action = policy.mean(start)
        return ((policy.mean(start + track.dt * action) - action) / track.dt).square().mean().sqrt().item()


def test_one_step_argmax_finds_the_hamiltonians_maximiser() -> None:
    rng = torch.Generator().manual_seed(0)
    policy, critic = parts(rng, policy_steps=1, temperature=1e-4, temperature_lr=1e-12)
    for _ in range(600):
        policy.improve(Track(), critic, torch.rand(128, 1, generator=rng) * 1.6 - 0.8)
    state = torch.linspace(-0.7, 0.7, 15)[:, None]
    assert (policy.mean(state) + state).abs().max() < 0.1


@pytest.mark.parametrize("policy_steps", [1, 3])
def test_the_gradient_looks_as_many_decisions_ahead_as_it_is_told(policy_steps: int) -> None:
    asked = []

    class Counted(Track):
        def step(self, state: Tensor, action: Tensor, kick: Tensor) -> Step:
            asked.append(state.requires_grad)
            return super().step(state, action, kick)

    policy, critic = parts(torch.Generator().manual_seed(0), policy_steps=policy_steps)
    policy.improve(Counted(), critic, torch.zeros(5, 1))
    assert asked == [False] + [True] * (policy_steps - 1)  # from the second decision on, through the state as well


def test_a_bang_bang_policy_is_carried_on_to_the_ends_and_explores_as_ever() -> None:
    policy, _ = parts(torch.Generator().manual_seed(0))
    with torch.no_grad():
        policy.average.weights[-1].mul_(20.0)
    state = torch.linspace(-0.7, 0.7, 15)[:, None]
    within = policy.mean(state)
    assert (within.abs() > 0.5).any()
    policy.bang_bang = True
    torch.testing.assert_close(policy.mean(state), (2 * within).clamp(-1, 1))
    restored, _ = parts(torch.Generator().manual_seed(1))
    restored.load_state_dict(policy.state_dict())
    assert torch.equal(restored.mean(state), policy.mean(state))
    assert (policy.sample(state, torch.zeros(15, 1))[0].abs() < 1).all()


@pytest.mark.parametrize("smoothness", ["rate", "rate+champ"])
def test_the_dual_variable_holds_the_action_rate(smoothness: str) -> None:
    rough, smooth = (
        parts(torch.Generator().manual_seed(0), smoothness=mode, action_rate=0.1) for mode in ("off", smoothness)
    )
    start = torch.rand(128, 1, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8
    rates = []
    for policy, critic in (rough, smooth):
        for _ in range(400):
            policy.improve(Track(), critic, start)
        rates.append(rate_of(policy, Track(), start))
    assert rates[1] < 0.5 * rates[0]


@pytest.mark.parametrize("dt", [0.02, 0.1])
def test_actions_may_change_as_fast_as_states_do(dt: float) -> None:
    """Coordinates sin(w t) with w = 1, 3 and 10 rad/s change at w over their spread; one that rests does not count."""
    replay, time = Replay(4, 1, CPU), np.arange(0, 60, dt)[:, None]
    states = np.concatenate([np.sin(time * [1.0, 3.0, 10.0]), np.zeros_like(time)], 1)
    for state, following in pairwise(states):
        replay.add(state, np.zeros(1), following, 0.0, False, dt)
    assert replay.state_rate().item() == pytest.approx(3.0, rel=0.02)
    policy, _ = parts(torch.Generator().manual_seed(0), action_rate=0.5)
    policy.keep_pace(replay.state_rate())
    assert policy.rate_target.item() == pytest.approx(1.5, rel=0.02)
    restored, _ = parts(torch.Generator().manual_seed(0), action_rate=0.5)
    restored.load_state_dict(policy.state_dict())
    assert restored.rate_target == policy.rate_target


def test_states_that_rest_set_no_pace() -> None:
    replay = Replay(1, 1, CPU)
    for _ in range(10):
        replay.add(np.ones(1), np.zeros(1), np.ones(1), 0.0, False, 0.1)
    assert replay.state_rate().item() == 1.0


def test_carre_du_champ_of_a_linear_policy() -> None:
    """Gamma(pi) = (pi' sigma)^2 (section 4.3's identity): here pi' is the slope of the mean action, sigma 0.1."""
    rng = torch.Generator().manual_seed(1)
    policy, critic = parts(rng, smoothness="rate+champ")
    start = torch.full((20_000, 1), 0.3)
    following = (torch.tensor([[0.3]]) + 0.0).requires_grad_()
    mean = policy.sample(following, torch.zeros(1, 1))[2]
    slope = torch.autograd.grad(mean.sum(), following)[0].item()
    champ = policy.improve(Track(), critic, start).champ.item()
    assert champ == pytest.approx((slope * 0.1) ** 2, rel=0.15)


def test_entropy_meets_its_target() -> None:
    rng = torch.Generator().manual_seed(0)
    policy, critic = parts(rng, entropy=-0.5, temperature_lr=2e-2, policy_lr=3e-3)
    for _ in range(800):
        result = policy.improve(Track(), critic, torch.rand(128, 1, generator=rng) * 1.6 - 0.8)
    assert result.entropy.item() == pytest.approx(-0.5, abs=0.25)


def learned(rng: torch.Generator) -> tuple[LearnedGenerator, Replay]:
    numbers, replay = np.random.default_rng(0), Replay(1, 1, CPU)
    for _ in range(400):
        state, action = numbers.uniform(-1, 1, 1), numbers.uniform(-1, 1, 1)
        replay.add(state, action, state + 0.1 * action, float(-0.1 * (state + action)[0] ** 2), False, 0.1)
    generator = LearnedGenerator(1, 1, 0.1, None, HJBConfig(width=32), rng)
    generator.look(replay)
    generator.fit(replay, 50)
    return generator, replay


def snapshot(generator: LearnedGenerator, *others: nn.Module) -> list[Tensor]:
    nets = (generator.net, generator.scale_net, generator.residual.net, *others)
    return [p.detach().clone() for net in nets for p in net.parameters()]


def test_improving_the_policy_moves_neither_the_generator_nor_the_critic() -> None:
    rng = torch.Generator().manual_seed(0)
    generator, _ = learned(rng)
    config = HJBConfig(width=32)
    policy = Policy(1, 1, generator.standardise, config, rng)
    critic = Critic(1, 1, 0.99, generator.standardise, config, rng)
    held = (generator, *critic.nets.values(), *critic.target_nets.values())
    before, policy_before = snapshot(*held), [p.detach().clone() for p in policy.net.parameters()]
    for _ in range(5):
        policy.improve(generator, critic, torch.rand(40, 1, generator=rng))
    assert all(torch.equal(a, b) for a, b in zip(before, snapshot(*held), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(policy_before, policy.net.parameters(), strict=True))


def test_the_generator_learns_the_same_whatever_the_value_does() -> None:
    outcomes = []
    for improve in (False, True):
        generator, replay = learned(torch.Generator().manual_seed(0))
        if improve:
            other = torch.Generator().manual_seed(9)
            policy = Policy(1, 1, generator.standardise, HJBConfig(width=32), other)
            critic = Critic(1, 1, 0.99, generator.standardise, HJBConfig(width=32), other)
            policy.improve(generator, critic, torch.rand(40, 1, generator=other))
        generator.fit(replay, 20)
        outcomes.append(snapshot(generator))
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))


def test_config_refuses_bad_values_in_one_line() -> None:
    from hjbbench.errors import UserError

    for field, value in (
        ("residual", "vae"),
        ("flow", "adam"),
        ("policy_steps", 0),
        ("critics_in_target", 9),
        ("generator_members", 1),
        ("critic_lr", math.nan),
        ("critic_lr", -1.0),
        ("flow_step", 0.0),
        ("flow_step", -0.1),
        ("smoothness_max", 0.0),
        ("temperature", 0.0),
        ("action_rate", 0),
        ("critic_rate", 1.5),
        ("policy_average", 5.0),
        ("entropy", math.inf),
        ("device", "gpu"),
        ("antithetic", 3),
        ("batch", "many"),
        ("batch", 2.5),
        ("critics", True),
    ):
        with pytest.raises(UserError, match=f"^{field} is {value!r}; ") as caught:
            dataclasses.replace(HJBConfig(), **{field: value})
        assert "\n" not in str(caught.value)
    assert HJBConfig(entropy=0.5, critic_rate=1.0, device="cuda", warmup_steps=0).critic_rate == 1
