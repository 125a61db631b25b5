"""The learned generator against processes whose drift and covariance are known."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.generator import LearnedGenerator
from hjbbench.hjb.replay import Replay
from hjbbench.hjb.residual import ResidualField, energy_distance

THETA, SIGMA, CONTROL = 1.0, 0.3, 1.5
DTS = (0.005, 0.01, 0.02, 0.05, 0.1)


def ou_law(state: np.ndarray, action: np.ndarray, dt: float) -> tuple[np.ndarray, float]:
    """Mean increment and its variance of ds = (-theta s + c a) dt + sigma dW over dt with the action held."""
    decay = math.exp(-THETA * dt)
    return (decay - 1) * (state - CONTROL * action / THETA), SIGMA**2 * (1 - decay**2) / (2 * THETA)


def ou_replay(n: int, dts: tuple[float, ...], rng: np.random.Generator, ended: bool = False) -> Replay:
    replay = Replay(1, 1, torch.device("cpu"))
    for k in range(n):
        dt = dts[k % len(dts)] if len(dts) > 1 else dts[0]
        state, action = rng.uniform(-3, 3, 1), rng.uniform(-1, 1, 1)
        mean, variance = ou_law(state, action, dt)
        following = state + mean + math.sqrt(variance) * rng.standard_normal(1)
        replay.add(state, action, following, float(-(state[0] ** 2)) * dt, ended, dt)
    return replay


def fitted(replay: Replay, dt: float, n_updates: int, **settings) -> LearnedGenerator:
    obs_dim = replay[:1].state.shape[1]
    generator = LearnedGenerator(obs_dim, 1, dt, None, HJBConfig(**settings), torch.Generator().manual_seed(1))
    generator.look(replay)
    generator.fit(replay, n_updates)
    generator.judge(replay)
    return generator


def grid(n: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(3)
    return torch.rand(n, 1, generator=rng) * 5 - 2.5, torch.rand(n, 1, generator=rng) * 2 - 1


def relative(estimate: torch.Tensor, exact: torch.Tensor) -> float:
    return ((estimate - exact).norm() / exact.norm()).item()


@pytest.fixture(scope="module")
def ous() -> list[LearnedGenerator]:
    """Fits to four data sets: one set of 5k noisy transitions is worth about 4 % of drift, some a little more."""
    return [fitted(ou_replay(5000, DTS, np.random.default_rng(seed)), 0.05, 500, width=64) for seed in range(4)]


@pytest.fixture(scope="module")
def ou(ous: list[LearnedGenerator]) -> LearnedGenerator:
    return ous[0]


@pytest.mark.parametrize("dt", [0.1, 0.07, 0.03, 0.005])
def test_ou_drift_and_covariance_hold_at_seen_and_unseen_dt(ous: list[LearnedGenerator], dt: float) -> None:
    state, action = grid()
    mean, variance = ou_law(state.numpy(), action.numpy(), dt)
    with torch.no_grad():
        drift = [relative(one.drift(state, action, dt), torch.as_tensor(mean / dt)) for one in ous]
        covariance = [one.covariance(state, action, dt) for one in ous]
    assert np.mean(drift) <= 0.05
    assert covariance[0].shape == (200, 1, 1)
    assert np.mean([relative(one, torch.full((200, 1, 1), variance / dt)) for one in covariance]) <= 0.10


def test_ou_reward_rate(ou: LearnedGenerator) -> None:
    state, action = grid()
    with torch.no_grad():
        assert relative(ou.reward_rate(state, action), -state[:, 0].square()) <= 0.05


def test_a_single_dt_extends_to_others_by_its_own_drift() -> None:
    generator = fitted(ou_replay(5000, (0.05,), np.random.default_rng(2)), 0.05, 100, width=64)
    state, action = grid()
    with torch.no_grad():
        here = generator.drift(state, action)
        assert relative(generator.drift(state, action, 0.005), here) < 1e-5
        assert relative(generator.covariance(state, action, 0.1), generator.covariance(state, action)) < 1e-5


def jump_replay(n: int, dt: float, rng: np.random.Generator) -> Replay:
    """ds = (0.5 - s) dt + jump of +-0.5 sqrt(dt) with equal odds + 0.1 sqrt(dt) noise: covariance rate 0.26."""
    replay = Replay(1, 1, torch.device("cpu"))
    for _ in range(n):
        state, action = rng.uniform(-3, 3, 1), rng.uniform(-1, 1, 1)
        kick = rng.choice([-0.5, 0.5]) + 0.1 * rng.standard_normal(1)
        replay.add(state, action, state + (0.5 - state) * dt + math.sqrt(dt) * kick, 0.0, False, dt)
    return replay


@pytest.fixture(scope="module")
def jump() -> LearnedGenerator:
    replay = jump_replay(5000, 0.5, np.random.default_rng(4))
    generator = fitted(replay, 0.5, 900, width=64)
    rng = torch.Generator().manual_seed(8)
    for _ in range(800):
        z, condition = generator.residuals(replay, 256, rng)
        generator.residual.fit(z, condition, rng)
    generator.judge(replay)
    return generator


def test_the_noise_variance_keeps_still_while_it_is_learned() -> None:
    replay, variances = ou_replay(3000, (0.05,), np.random.default_rng(0)), []
    generator = fitted(replay, 0.05, 1500, width=64)
    for _ in range(12):
        generator.fit(replay, 50)
        variances.append(generator.scale(*grid()).square().mean().item())
    # The newest weights alone move it by 4 to 5 %.
    assert np.std(variances) < 0.025 * np.mean(variances)


def test_where_every_decision_ends_its_episode_all_are_learned_from() -> None:
    replay = ou_replay(500, (0.05,), np.random.default_rng(0), ended=True)
    assert (replay[:].terminated == 1).all()
    generator = fitted(replay, 0.05, 50, width=16)
    assert generator.linear.used.all()
    assert generator.scale(*grid()).mean().item() == pytest.approx(SIGMA, rel=0.15)


def test_noise_that_is_the_same_everywhere_is_one_number_and_other_noise_is_not() -> None:
    """dx = -x dt + g(x) dW with g = 0.5 on the first coordinate and 0.3 exp(x_2) on the second."""
    rng, dt = np.random.default_rng(0), 0.05
    replay = Replay(2, 1, torch.device("cpu"))
    for _ in range(4000):
        state, action = rng.uniform(-1, 1, 2).astype(np.float32), rng.uniform(-1, 1, 1).astype(np.float32)
        scale = np.array([0.5, 0.3 * np.exp(state[1])])
        after = state - dt * state + np.sqrt(dt) * scale * rng.normal(size=2)
        replay.add(state, action, after.astype(np.float32), float(-state @ state), False, dt)
    generator = fitted(replay, dt, 1500)
    assert generator.uniform.tolist() == [True, False]
    scale = generator.scale(torch.tensor([[0.9, -0.8], [-0.9, 0.0], [0.0, 0.8]]), torch.zeros(3, 1))
    assert scale[:, 0].tolist() == pytest.approx([0.5] * 3, rel=0.05)
    assert scale[:, 1].tolist() == pytest.approx([0.135, 0.3, 0.668], rel=0.25)


def test_bimodal_jumps_keep_drift_and_covariance(jump: LearnedGenerator) -> None:
    state, action = grid()
    with torch.no_grad():
        assert relative(jump.drift(state, action), 0.5 - state) <= 0.05
        assert relative(jump.covariance(state, action), torch.full((200, 1, 1), 0.26)) <= 0.10


def test_bimodal_jumps_choose_the_diffusion_and_sample_two_modes(jump: LearnedGenerator) -> None:
    assert jump.residual_calls == 2
    state = torch.zeros(2000, 1)
    drawn = jump.sample(state, state, torch.Generator().manual_seed(5))[:, 0] - 0.25
    between = (drawn.abs() < 0.18).float().mean()
    assert between < 0.19, "a normal law with this covariance puts 0.38 there"


@pytest.mark.parametrize("residual", ["diffusion", "gaussian", "deterministic"])
def test_samples_are_of_the_law_that_rollouts_draw_from(jump: LearnedGenerator, residual: str) -> None:
    law = copy.copy(jump)
    law.config = dataclasses.replace(jump.config, residual=residual)
    law.residual_calls = 2 if residual == "diffusion" else 0
    state, action = torch.linspace(-6, 6, 500)[:, None], torch.zeros(500, 1)
    drawn = law.sample(state, action, torch.Generator().manual_seed(5))
    noise = law.noise(1, 500, torch.Generator().manual_seed(5))[0]
    torch.testing.assert_close(drawn, law.step(state, action, law.kick(state, action, noise)).next_state)
    middle = torch.zeros(5000, 1)
    variance = law.sample(middle, middle, torch.Generator().manual_seed(6)).var().item()
    expected = law.dt * law.covariance(middle[:1], middle[:1], n_samples=5000).item()
    assert variance == pytest.approx(expected, rel=0.1, abs=1e-4)  # members differ a little


def test_normal_residuals_choose_no_diffusion(ou: LearnedGenerator) -> None:
    assert ou.residual_calls == 0


def residual_law(name: str, n: int, rng: np.random.Generator) -> np.ndarray:
    draws = {
        "gaussian": lambda: rng.standard_normal(n),
        "bimodal": lambda: rng.choice([-1.0, 1.0], n) + 0.3 * rng.standard_normal(n),
        "skewed": lambda: rng.exponential(size=n),
        "heavy": lambda: rng.standard_t(3, n),
    }[name]()
    draws = np.clip(draws, *np.quantile(draws, [0.0005, 0.9995]))
    return (draws - draws.mean()) / draws.std()


@pytest.mark.parametrize("name", ["gaussian", "bimodal", "skewed", "heavy"])
def test_sampler_keeps_the_spread_and_halves_the_distance_at_two_calls(name: str) -> None:
    from scipy.stats import wasserstein_distance

    data = residual_law(name, 20_000, np.random.default_rng(6))
    rng = torch.Generator().manual_seed(7)
    field = ResidualField(1, 1, 64, 1e-3, rng)
    z, condition = torch.as_tensor(data, dtype=torch.float32)[:, None], torch.zeros(20_000, 1)
    for _ in range(1600):
        index = torch.randint(0, len(z), (256,), generator=rng)
        field.fit(z[index], condition[index], rng)
    field.match_moments(z, condition, 2, rng)
    noise = torch.randn(20_000, 1, generator=rng)
    drawn = field.sample(noise, condition, 2)
    assert drawn.std().item() == pytest.approx(data.std(), rel=0.05)
    distance = wasserstein_distance(drawn[:, 0].numpy(), data)
    if name == "gaussian":
        assert distance < 0.05
    else:
        assert distance <= 0.5 * wasserstein_distance(noise[:, 0].numpy(), data)


def test_a_fresh_field_is_exactly_the_gaussian() -> None:
    field = ResidualField(3, 2, 16, 1e-3, torch.Generator().manual_seed(0))
    noise = torch.randn(50, 2)
    for calls in (0, 1, 2, 3):
        assert torch.equal(field.sample(noise.clamp(-8, 8), torch.randn(50, 3), calls), noise.clamp(-8, 8))


def test_a_later_look_widens_the_range_and_changes_no_prediction(ou: LearnedGenerator) -> None:
    state, action = grid(50)
    low, high = ou.low.clone(), ou.high.clone()
    with torch.no_grad():
        drift, scale, reward = ou.drift(state, action), ou.scale(state, action), ou.reward_rate(state, action)
        wide = ou_replay(3000, (0.03, 0.3), np.random.default_rng(9))
        wide.add(np.array([50.0]), np.zeros(1), np.array([60.0]), 0.0, False, 0.1)
        ou.look(wide)
        assert torch.equal(ou.drift(state, action), drift)
        assert torch.equal(ou.scale(state, action), scale)
        assert torch.equal(ou.reward_rate(state, action), reward)
    assert ou.high > 60.0 > high
    ou.low, ou.high = low, high


def test_the_unit_of_the_state_does_not_matter() -> None:
    """A first look at the data that rescales fresh weights undoes its own standardising; learning then fails."""
    state, action = grid(50)
    drifts = []
    for unit in (1.0, 100.0):
        replay, rng = Replay(1, 1, torch.device("cpu")), np.random.default_rng(5)
        for _ in range(600):
            s, a = rng.uniform(-3, 3, 1), rng.uniform(-1, 1, 1)
            ds = ou_law(s, a, 0.1)[0]
            replay.add(unit * (5 + s), a, unit * (5 + s + ds), float(-(s[0] ** 2)), False, 0.1)
        generator = fitted(replay, 0.1, 100, residual="gaussian")
        with torch.no_grad():
            drifts.append(generator.drift(unit * (5 + state), action) / unit)
    torch.testing.assert_close(drifts[0], drifts[1], rtol=0.02, atol=0.02)


def test_energy_distance_is_small_for_one_law_and_large_for_two() -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 800, 2, generator=rng)
    assert abs(energy_distance(x, y)) < 0.02
    assert energy_distance(x, y + 1) > 0.3
