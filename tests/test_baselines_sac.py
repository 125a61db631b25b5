"""The model-free baselines: the fast update is Stable-Baselines3's, and each variant changes what it says."""

from __future__ import annotations

import dataclasses
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from baselines.backprop import forward
from baselines.caps import Caps
from baselines.ct_sac import ValueFlow
from baselines.networks import SquashedGaussian
from baselines.replay import Batch, Replay
from baselines.sac_time_aware import TimedReplayBuffer
from baselines.soft_actor_critic import SoftActorCritic, SoftActorCriticConfig
from baselines.warmup import ShortEpisodes
from hjbbench.clock import RunClock
from hjbbench.compiling import can_compile
from hjbbench.environment import TrainingEnv
from hjbbench.errors import Diverged, UserError
from hjbbench.registry import get_agent, get_task

OBS, ACTION = 4, 2


def transitions(n: int, elapsed: float = 1.0) -> Batch:
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return Batch(
        draw(n, OBS), draw(n, ACTION).tanh(), draw(n, OBS), draw(n), (draw(n) > 1).float(), torch.full((n,), elapsed)
    )


def train(name: str, task_name: str, budget: int, seed: int = 1, **changes):
    task, entry = get_task(task_name), get_agent(name)
    env = TrainingEnv(task.make(), task.dt, seed, budget)
    agent = entry.factory(task, env, dataclasses.replace(entry.config, **changes), seed)
    clock = RunClock(budget, (), lambda c: None, lambda row: None, task.dt)
    agent.learn(env, clock)
    return agent, clock


def test_update_is_that_of_stable_baselines3(monkeypatch):
    """Two updates from the same weights and batch, with noise and temperature too small to matter."""
    torch.manual_seed(0)
    hidden, batch = (16, 16), transitions(32)
    space = gym.spaces.Box(-np.inf, np.inf, (OBS,), np.float32), gym.spaces.Box(-1, 1, (ACTION,), np.float32)
    env = gym.Env()
    env.observation_space, env.action_space = space
    theirs = SAC("MlpPolicy", env, gamma=0.9, policy_kwargs={"net_arch": list(hidden)}, device="cpu")
    theirs.set_logger(Logger(None, []))
    ours = SoftActorCritic(OBS, ACTION, SoftActorCriticConfig(0.9, -float(ACTION), hidden))
    theirs.actor.log_std.bias.data.fill_(-50.0)  # clamped to -20: the action is its mean
    theirs.log_ent_coef.data.fill_(-30.0)
    ours.log_temperature.data.fill_(-30.0)
    linear = [m for m in theirs.actor.latent_pi if isinstance(m, torch.nn.Linear)]
    for mine, other in zip(ours.policy.net.layers[:-1], linear, strict=True):
        mine.weight.data, mine.bias.data = other.weight.data.T[None].clone(), other.bias.data[None, None].clone()
    heads = theirs.actor.mu, theirs.actor.log_std
    ours.policy.net.layers[-1].weight.data = torch.cat([head.weight.data.T for head in heads], dim=1)[None]
    ours.policy.net.layers[-1].bias.data = torch.cat([head.bias.data for head in heads])[None, None]

    def critics():
        nets = theirs.critic.q_networks
        return [[m for m in net if isinstance(m, torch.nn.Linear)] for net in nets]

    for index, layer in enumerate(ours.critics.layers):
        layer.weight.data = torch.stack([net[index].weight.data.T for net in critics()])
        layer.bias.data = torch.stack([net[index].bias.data[None] for net in critics()])
    ours.targets.load_state_dict(ours.critics.state_dict())
    columns = (batch.obs, batch.action, batch.next_obs, batch.terminated[:, None], batch.reward[:, None])
    monkeypatch.setattr(theirs.replay_buffer, "sample", lambda *a, **k: ReplayBufferSamples(*columns))
    theirs.train(2, 32)
    for _ in range(2):
        ours.update(batch)

    for index, layer in enumerate(ours.critics.layers):
        other = torch.stack([net[index].weight.data.T for net in critics()])
        torch.testing.assert_close(layer.weight.data, other, atol=2e-6, rtol=1e-4)
    mean = ours.policy.net.layers[-1].weight.data[0, :, :ACTION].T
    torch.testing.assert_close(mean, theirs.actor.mu.weight.data, atol=2e-6, rtol=1e-4)
    target = torch.stack([net[0].weight.data.T for net in theirs.critic_target.q_networks])
    torch.testing.assert_close(ours.targets.layers[0].weight.data, target, atol=2e-6, rtol=1e-4)
    assert ours.log_temperature.item() == pytest.approx(theirs.log_ent_coef.item(), abs=1e-6)


def test_log_probability_is_that_of_the_squashed_normal():
    policy = SquashedGaussian(OBS, ACTION, (8,))
    obs, noise = torch.randn(20, OBS), torch.randn(20, ACTION)
    action, log_prob = policy(obs, noise)
    mean, log_std = policy.net(obs)[0].chunk(2, dim=1)
    law = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean.double(), log_std.double().exp()), torch.distributions.TanhTransform()
    )
    torch.testing.assert_close(log_prob.double(), law.log_prob(action.double()).sum(1), atol=1e-4, rtol=1e-4)


def test_hand_written_gradients_are_autograds():
    torch.manual_seed(0)
    learner = SoftActorCritic(OBS, ACTION, SoftActorCriticConfig(0.9, -2.0, (8, 7)), Caps(3.0, 2.0, 0.0))
    batch, noise, temperature, target = transitions(16), torch.randn(16, ACTION), torch.tensor(0.3), torch.randn(16)
    policy, critics = learner.policy, learner.critics

    values = critics(torch.cat([batch.obs, batch.action], dim=1)).squeeze(2)
    critic_loss = 0.5 * (values - target).square().mean(1).sum()
    critic_gradients = torch.autograd.grad(critic_loss, list(critics.parameters()))
    action, log_prob = policy(batch.obs, noise)
    smaller = critics(torch.cat([batch.obs, action], dim=1)).amin(0).squeeze(1)
    policy_loss = (temperature * log_prob - smaller).mean() + learner.penalty(policy, batch.obs, batch.next_obs)
    policy_gradients = torch.autograd.grad(policy_loss, list(policy.parameters()))

    with torch.no_grad():
        ours = learner._critic_gradients(batch, target)
        hidden = forward(policy.net, batch.obs)
        plain = learner._policy_gradients(batch.obs, hidden, policy.squash(hidden[-1][0], noise), temperature)
        ours += [own + extra for own, extra in zip(plain, learner._penalty_gradients(batch), strict=True)]
    for mine, gradient in zip(ours, [*critic_gradients, *policy_gradients], strict=True):
        torch.testing.assert_close(mine, gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.skipif(not can_compile(torch.device("cpu")), reason="no C++ compiler was found")
def test_fused_update_is_the_plain_one():
    torch.manual_seed(0)
    config, batch = SoftActorCriticConfig(0.9, -2.0, (8,), learning_rate=1e-3), transitions(16)
    plain, fused = (SoftActorCritic(OBS, ACTION, config, Caps(3.0, 2.0, 0.1)) for _ in range(2))
    fused.load_state_dict(plain.state_dict())
    fused.fuse()
    before = [parameter.clone() for parameter in plain.parameters()]
    for learner in (plain, fused):
        torch.manual_seed(1)
        for _ in range(3):
            learner.update(batch)
    for mine, other, start in zip(fused.parameters(), plain.parameters(), before, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)
        assert not torch.equal(other, start)


def test_target_is_the_soft_bellman_equations():
    """r + gamma (1 - terminated) (min Q'(s', a') - temperature log pi(a'|s')), written out."""
    torch.manual_seed(0)
    learner = SoftActorCritic(OBS, ACTION, SoftActorCriticConfig(0.9, -2.0, (8, 8)))
    batch, action, log_prob = transitions(32), torch.rand(64, ACTION), torch.linspace(-3, 1, 64)
    assert 0 < batch.terminated.sum() < 32
    with torch.no_grad():
        first, second = learner.targets(torch.cat([batch.next_obs, action[32:]], dim=1)).squeeze(2)
        soft_value = torch.minimum(first, second) - 0.3 * log_prob[32:]
        target = learner.target(batch, action, log_prob, torch.tensor(0.3))
    torch.testing.assert_close(target, batch.reward + 0.9 * (1 - batch.terminated) * soft_value)


@pytest.mark.parametrize(("target_entropy", "sign"), [(-10.0, -1.0), (10.0, 1.0)])
def test_temperature_falls_while_the_policy_is_more_random_than_it_should_be(target_entropy, sign):
    torch.manual_seed(0)
    learner = SoftActorCritic(OBS, ACTION, SoftActorCriticConfig(0.9, target_entropy, (8, 8), first_temperature=0.5))
    learner.update(transitions(32))
    assert sign * (learner.log_temperature.item() - math.log(0.5)) > 0


def test_caps_of_a_linear_policy():
    """pi(s) = tanh(w s) with small w is w s: temporal and spatial terms in closed form."""
    policy = SquashedGaussian(1, 1, ())
    policy.net.layers[0].weight.data = torch.tensor([[[0.01, 0.0]]])
    policy.net.layers[0].bias.data.zero_()
    obs = torch.zeros(200_000, 1)
    torch.manual_seed(0)
    assert Caps(0.1, 0.0, 0.2)(policy, obs, obs + 2.0).item() == pytest.approx(0.5 * 0.1 * 0.02**2, rel=1e-3)
    assert Caps(0.0, 0.5, 0.2)(policy, obs, obs).item() == pytest.approx(0.5 * 0.5 * 0.002**2, rel=2e-2)


def test_caps_smooths_the_policy():
    def roughness(penalty):
        torch.manual_seed(0)
        learner = SoftActorCritic(OBS, ACTION, SoftActorCriticConfig(0.9, -2.0, (32, 32), 3e-3), penalty)
        batch = transitions(64)
        for _ in range(60):
            learner.update(batch)
        return Caps(1.0, 0.0)(learner.policy, batch.obs, batch.next_obs).item()

    assert roughness(Caps(20.0, 0.0)) < 0.5 * roughness(None)


def test_ct_sac_target_is_that_of_sac_on_a_regular_grid():
    torch.manual_seed(0)
    config = SoftActorCriticConfig(0.9, -2.0, (8, 8))
    sac, flow = SoftActorCritic(OBS, ACTION, config), ValueFlow(OBS, ACTION, config)
    flow.load_state_dict(sac.state_dict())
    batch, temperature = transitions(32), torch.tensor(0.3)
    action, log_prob = sac.policy(torch.cat([batch.obs, batch.next_obs]), torch.randn(64, ACTION))
    drawn = action, log_prob, temperature
    torch.testing.assert_close(flow.target(batch, *drawn), sac.target(batch, *drawn), atol=1e-5, rtol=1e-5)

    held = batch._replace(elapsed=torch.full((32,), 0.5))
    here = sac.soft_value(batch.obs, action[:32], log_prob[:32], temperature)
    there = sac.soft_value(batch.next_obs, action[32:], log_prob[32:], temperature)
    euler = here + (0.9**0.5 * there - here) / 0.5
    expected = batch.reward / 0.5 + (1 - batch.terminated) * euler
    torch.testing.assert_close(flow.target(held, *drawn), expected, atol=1e-5, rtol=1e-5)


def test_timed_buffer_discounts_the_time_a_decision_was_held():
    spaces = gym.spaces.Box(-1, 1, (3,), np.float32), gym.spaces.Box(-1, 1, (1,), np.float32)
    buffer = TimedReplayBuffer(10, *spaces, device="cpu", discount_rate=2.0, dt=0.1)
    for index, info in enumerate(({}, {"dt": 0.3})):
        obs = np.full((1, 3), index, np.float32)
        buffer.add(obs, obs, np.zeros((1, 1)), np.ones(1), np.zeros(1), [info])
    samples = buffer.sample(50)
    expected = torch.where(samples.observations[:, :1] == 0, math.exp(-0.2), math.exp(-0.6))
    torch.testing.assert_close(samples.discounts, expected)


def test_time_aware_sac_is_sac_at_the_tasks_own_dt():
    budget = 130
    plain, _ = train("sac", "oracle/oscillator", budget)
    timed, _ = train("sac-time-aware", "oracle/oscillator", budget)
    states = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(timed.act(states), plain.act(states), atol=1e-4)
    task, entry = get_task("oracle/oscillator"), get_agent("sac-time-aware")
    fast = dataclasses.replace(task, dt=task.dt / 2)
    agent = entry.factory(fast, fast.make(dt=fast.dt), entry.config, 0)
    assert (1 - agent.model.tau) ** 2 == pytest.approx(1 - entry.config.tau)
    assert agent.model.gamma**2 == pytest.approx(task.discount)


def test_short_episodes_for_three_warm_ups():
    task = get_task("control/pendulum")
    env = ShortEpisodes(task.make(), steps=20, episodes=4)
    env.reset(seed=0)
    ends = []
    for step in range(1, 100):
        *_, truncated, _ = env.step(np.zeros(1, np.float32))
        if truncated:
            ends.append(step)
            env.reset()
    assert ends == list(range(5, 61, 5))


@pytest.mark.parametrize("name", ["ct-sac", "sac-caps"])
def test_updates_are_counted_and_seeds_reproduce(name):
    states = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    agent, clock = train(name, "oracle/oscillator", 60, warmup_steps=40)
    again, _ = train(name, "oracle/oscillator", 60, warmup_steps=40)
    other, _ = train(name, "oracle/oscillator", 60, seed=2, warmup_steps=40)
    assert clock.n_updates == 21  # one after each decision from the 40th on
    np.testing.assert_array_equal(agent.act(states), again.act(states))
    assert not np.array_equal(agent.act(states), other.act(states))
    assert agent.value(states).shape == (5,)


@pytest.mark.parametrize("name", ["crossq", "tqc"])
def test_contributed_agents_learn_after_their_warm_up(name):
    agent, clock = train(name, "oracle/oscillator", 60, learning_starts=40)
    assert clock.n_updates == 19  # the last one is after the last tick
    assert np.isfinite(agent.value(np.zeros((3, 4), np.float32))).all()


def test_a_policy_that_left_the_finite_numbers_ends_the_run():
    agent, _ = train("sac-caps", "oracle/oscillator", 5)
    agent.learner.policy.net.layers[0].bias.data.fill_(math.nan)
    with pytest.raises(Diverged, match="not finite"):
        agent.act(np.zeros(4))


def test_replay_keeps_the_newest_and_its_columns():
    replay = Replay(OBS, ACTION, 8)
    with pytest.raises(ValueError, match="empty"):
        replay.sample(1)
    batch = transitions(11)
    for row in zip(*batch[:5], strict=True):
        replay.append(*(column.numpy() for column in row[:3]), row[3].item(), bool(row[4]))
    assert replay.size == 8
    assert set(replay.all.reward.tolist()) == set(batch.reward[3:].tolist())
    drawn = replay.sample(100)
    source = {
        tuple(o.tolist()): (r.item(), tuple(n.tolist()))
        for o, r, n in zip(batch.obs, batch.reward, batch.next_obs, strict=True)
    }
    for obs, reward, next_obs in zip(drawn.obs, drawn.reward, drawn.next_obs, strict=True):
        assert source[tuple(obs.tolist())] == (reward.item(), tuple(next_obs.tolist()))
    assert set(replay.resized(3).all.reward.tolist()) == set(batch.reward[-3:].tolist())
    assert set(replay.resized(20).all.reward.tolist()) == set(batch.reward[3:].tolist())


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("sac", {"first_temperature": 0.0}, "first_temperature is 0.0, must be above 0"),
        ("sac-caps", {"tau": -0.1}, "tau is -0.1, must be at least 0"),
        ("ct-sac", {"batch_size": 0}, "batch_size is 0, must be above 0"),
        ("tqc", {"learning_rate": math.nan}, "learning_rate is nan, must be a finite number"),
        ("mbpo", {"updates_per_step": "many"}, "updates_per_step is 'many', must be a finite number"),
        ("mbpo", {"elites": 9}, "elites is 9, must be at most members, 7"),
        ("mbpo-lite", {"real_share": 2.0}, "real_share is 2, must be at most 1"),
        ("dhmbpo", {"batch_size": 100}, "batch_size is 100, must be a multiple of members, 8"),
    ],
)
def test_bad_settings_are_refused_in_one_line(name, changes, message):
    with pytest.raises(UserError) as refusal:
        dataclasses.replace(get_agent(name).config, **changes)
    assert str(refusal.value) == message


def test_spaces_that_are_no_flat_boxes_are_refused_by_name():
    env = gym.Env()
    env.observation_space, env.action_space = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2)
    entry = get_agent("ct-sac")
    with pytest.raises(UserError, match=r"'control/pendulum': action space is Discrete\(2\), must be"):
        entry.factory(get_task("control/pendulum"), env, entry.config, 0)
