"""The linear map: right where the plant is linear, and silent where a network knows better."""

from __future__ import annotations

import pytest
import torch

from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.folds import Folds
from hjbbench.hjb.generator import LearnedGenerator
from hjbbench.hjb.linear import LinearMap
from hjbbench.hjb.networks import Ensemble
from hjbbench.hjb.replay import Replay

MEMBERS, DT = 5, 0.05


def test_members_fit_what_their_own_fold_may_not_teach() -> None:
    x = torch.randn(1000, 3)
    fold = Folds(MEMBERS).of(1000, x.device)
    target = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.3
    target[fold == 2] += 10.0  # seen by all but member 2
    linear = LinearMap(MEMBERS, 3, 1, x.device)
    linear.fit(x, target, fold, torch.ones(1000, 1))
    offset = linear(torch.zeros(1, 3))[:, 0, 0]
    assert abs(offset[2] - 0.3) < 1e-3
    assert (offset[[0, 1, 3, 4]] > 2.0).all()


def learned(curved: float, noise: float = 0.2) -> tuple[LearnedGenerator, Replay]:
    """A generator and its data: a regulator with ``noise`` whose second drift has ``curved`` times a square."""
    rng = torch.Generator().manual_seed(0)
    replay = Replay(2, 1, rng.device)
    state = torch.zeros(2)
    for step in range(1500):
        if step % 20 == 0:
            state = 2 * torch.rand(2, generator=rng) - 1
        action = 2 * torch.rand(1, generator=rng) - 1
        drift = torch.stack([state[1] - state[0], action[0] - state[1] + curved * state[0].square()])
        following = state + DT * drift + noise * DT**0.5 * torch.randn(2, generator=rng)
        reward = -float(state.square().sum())
        replay.add(state.numpy(), action.numpy(), following.numpy(), reward, False, DT)
        state = following
    generator = LearnedGenerator(2, 1, DT, None, HJBConfig(residual="gaussian", width=64), rng)
    generator.look(replay)
    generator.fit(replay, 1000)
    generator.judge(replay)
    return generator, replay


def test_a_noisy_linear_plant_needs_no_network() -> None:
    generator, replay = learned(curved=0.0)
    assert generator.linear.used.all()
    state, action = replay[:].state, replay[:].action
    exact = torch.stack([state[:, 1] - state[:, 0], action[:, 0] - state[:, 1]], 1)
    noise = 0.2 / DT**0.5  # of one decision's drift
    linear, network = generator.drift(state, action), generator.net(generator._inputs(state, action, DT)).mean(0)[:, :2]
    network = generator.rate_mean[:2] + generator.spread[:2] / DT**0.5 * network
    assert (linear - exact).square().mean().sqrt() < 0.12 * noise
    assert (linear - exact).square().mean() < 0.5 * (network - exact).square().mean()
    assert (generator.scale(state, action).square().mean(0) / 0.04 - 1).abs().max() < 0.12


@pytest.mark.parametrize("seed", range(3))
def test_rounding_errors_are_nothing_to_know_about(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(2000, 3, generator=rng)
    linear = LinearMap(MEMBERS, 3, 1, x.device)
    rounding = 1e-6 * (x[:, :1] + torch.randn(2000, 1, generator=rng))
    linear.judge(rounding, 0.3 * x[:, :1].sin() + rounding)
    assert linear.used.all()
    linear.judge(rounding, -0.3 * x[:, :1].sin() + rounding)
    assert linear.used.all()


def test_a_plant_without_noise_is_linear_too() -> None:
    assert learned(curved=0.0, noise=0.0)[0].linear.used.all()


def test_a_network_that_sees_a_curve_keeps_its_coordinate() -> None:
    assert learned(curved=3.0)[0].linear.used.tolist() == [True, False]


def test_an_output_layer_that_sees_the_inputs_survives_other_units() -> None:
    rng = torch.Generator().manual_seed(0)
    net = Ensemble(2, 4, 3, 16, 2, rng, skip=True)
    x = torch.randn(10, 4, generator=rng)
    plain = Ensemble(2, 4, 3, 16, 2, torch.Generator().manual_seed(0))
    assert torch.allclose(net(x), plain(x), atol=1e-6)  # blind at first
    with torch.no_grad():
        net.weights[-1].add_(torch.randn(net.weights[-1].shape, generator=rng))
    before = net(x)
    ratio, shift = torch.tensor([2.0, 0.5, 3.0]), torch.tensor([1.0, -1.0, 0.3])
    net.rescale_input(ratio, shift)
    rescaled = torch.cat([(x[:, :3] - shift) / ratio, x[:, 3:]], 1)
    assert torch.allclose(net(rescaled), before, atol=1e-4)
