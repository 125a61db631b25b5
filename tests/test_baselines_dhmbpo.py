"""DHMBPO: value expansion by hand, gradients through a known model, its bounds, and a run that reproduces."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from baselines import dhmbpo
from baselines.caps import Caps
from baselines.homoscedastic import HomoscedasticEnsemble
from baselines.networks import EnsembleMLP, drop
from baselines.replay import Batch
from baselines.value_expansion import BoundedCritic, expand, rollout
from hjbbench.clock import RunClock
from hjbbench.environment import TrainingEnv
from hjbbench.registry import get_agent, get_task

SMALL = {
    "warmup_steps": 50,
    "model_width": 16,
    "width": 16,
    "model_first_updates": 5,
    "first_updates": 5,
    "batch_size": 16,
    "start_horizon": 3,
}


def build(task_name: str = "locomotion/hopper", seed: int = 1, budget: int = 60, name: str = "dhmbpo", **changes):
    task, entry = get_task(task_name), get_agent(name)
    env = TrainingEnv(task.make(), task.dt, seed, budget)
    agent = entry.factory(task, env, dataclasses.replace(entry.config, **(SMALL | changes)), seed)
    return agent, env, RunClock(budget, (), lambda c: None, lambda row: None, task.dt)


def test_expansion_on_a_linear_model_by_hand():
    """s' = s + a, r = s, a = 0.5: states 1, 1.5, 2; behind them the value 10."""
    policy = lambda obs: (torch.full_like(obs, 0.5), torch.zeros(len(obs)))  # noqa: E731
    step = lambda obs, action: (obs[:, 0], obs + action, torch.zeros(len(obs), dtype=torch.bool))  # noqa: E731
    path = rollout(torch.tensor([[1.0]]), 2, policy, step)
    value = expand(path.reward, torch.tensor([10.0]), path.alive, discount=0.9)
    assert value.item() == pytest.approx(1.0 + 0.9 * 1.5 + 0.81 * 10.0)


def test_expansion_ends_with_the_episode():
    """The second step terminates: its reward counts, nothing behind it does."""
    policy = lambda obs: (torch.zeros_like(obs), torch.zeros(len(obs)))  # noqa: E731
    step = lambda obs, action: (torch.ones(len(obs)), obs + 1.0, obs[:, 0] >= 1.0)  # noqa: E731
    path = rollout(torch.tensor([[0.0], [1.0]]), 3, policy, step)
    value = expand(path.reward, torch.full((2,), 100.0), path.alive, discount=0.9)
    assert value.tolist() == pytest.approx([1.9, 1.0])


def test_gradient_through_the_rollout_is_the_chain_rule():
    """s' = 2 s + a with a = k s: d(s_2)/dk = 2 (2 + k) s_0."""
    gain = torch.tensor(0.3, requires_grad=True)
    policy = lambda obs: (gain * obs, torch.zeros(len(obs)))  # noqa: E731
    step = lambda obs, action: (0.0 * obs[:, 0], 2 * obs + action, torch.zeros(len(obs), dtype=torch.bool))  # noqa: E731
    rollout(torch.tensor([[1.5]]), 2, policy, step).obs[-1].sum().backward()
    assert gain.grad.item() == pytest.approx(2 * 2.3 * 1.5)


def test_model_learns_linear_dynamics_and_their_noise():
    torch.manual_seed(0)
    n = 1000
    obs, action = torch.randn(n, 2), torch.rand(n, 1) * 2 - 1
    noise_std = 0.2
    next_obs = obs + torch.cat([action, obs[:, :1]], dim=1) + noise_std * torch.randn(n, 2)
    data = Batch(obs, action, next_obs, obs[:, 0] - action[:, 0], torch.zeros(n), torch.ones(n))
    model = HomoscedasticEnsemble(2, 1, members=4, width=32, learning_rate=1e-2)
    model.calibrate(data)
    for _ in range(400):
        model.fit(data, 128)
    with torch.no_grad():
        reward, drawn = model.step(obs, action)
    error = drawn - (obs + torch.cat([action, obs[:, :1]], dim=1))
    assert (reward - data.reward).square().mean().sqrt() < 0.15
    assert error.mean(0).abs().max() < 0.1
    assert ((error.std(0) / noise_std) > 0.8).all()
    assert ((error.std(0) / noise_std) < 1.7).all()


def test_members_take_equal_blocks_and_rows_keep_their_place():
    model = HomoscedasticEnsemble(1, 1, members=4, width=8, learning_rate=1e-3)
    with torch.no_grad():
        model.log_noise.fill_(-20.0)
        for layer in model.net.layers:
            layer.weight.zero_()
        model.net.layers[-1].bias[:, 0, 1] = torch.arange(4.0)
        obs = torch.arange(8.0)[:, None]
        moved = (model.step(obs, torch.zeros(8, 1))[1] - obs).squeeze(1).round()
    assert sorted(moved.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (moved[::2] == moved[1::2]).all()


def test_dropped_units_are_few_and_the_rest_make_up_for_them():
    dropped = drop(torch.ones(1000, 10), 0.1)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)


def test_chosen_members_are_those_of_the_whole():
    net = EnsembleMLP(4, (3, 8, 2), norm_eps=(0.0, 1e-5))
    x = torch.randn(5, 3)
    torch.testing.assert_close(net(x, torch.tensor([2, 0])), net(x)[[2, 0]])


def test_targets_stay_within_the_bounds_of_the_rewards():
    critic = BoundedCritic(2, members=3, width=8, discount=0.9)
    critic.bound(torch.linspace(-1.0, 2.0, 301), quantile=0.0, rate=0.5)
    assert (critic.low.item(), critic.high.item()) == pytest.approx((-10.0, 20.0))
    with torch.no_grad():
        critic.target.layers[-1].bias.fill_(100.0)
    assert critic.target_value(torch.zeros(4, 2)).tolist() == pytest.approx([20.0] * 4)
    critic.bound(torch.tensor([0.0, 4.0]), quantile=0.0, rate=0.5)
    assert (critic.low.item(), critic.high.item()) == pytest.approx((-5.0, 30.0))
    assert critic(torch.zeros(4, 2)).mean().item() == pytest.approx(12.5)  # untrained: the centre


def test_start_states_are_alive_and_the_newest_are_kept():
    agent, *_ = build(starts_kept=2)
    standing = np.zeros(11, np.float32)
    standing[0] = 1.2
    for _ in range(20):
        agent.replay.append(standing, np.zeros(3), standing, 1.0, False)

    def step(obs, action):
        moved = obs.clone()
        moved[::2, 0] -= 0.3  # every other trajectory falls at its second step
        return torch.zeros(len(obs)), moved

    agent.model.step = step
    for _ in range(3):
        agent._choose_starts()
    assert len(agent.starts) == 2
    assert len(agent.start_pool) == 2 * (8 * 2 + 8 * 4)
    assert (agent.start_pool[:, 0] > 0.7).all()


def started(**changes):
    """An agent with twenty transitions, a calibrated model and start states."""
    agent, env, _ = build(**changes)
    obs, _ = env.reset()
    for _ in range(20):
        action = env.action_space.sample()
        next_obs, reward, terminated, *_ = env.step(action)
        agent.replay.append(obs, action, next_obs, float(reward), bool(terminated))
        obs = env.reset()[0] if terminated else next_obs
    agent.model.calibrate(agent.replay.all)
    agent._choose_starts()
    return agent


def test_critics_learn_values_of_given_first_actions(monkeypatch):
    """Their target has the entropy of every action but the first, the policy's value that of all."""
    paths, expanded = [], []
    monkeypatch.setattr(dhmbpo, "rollout", lambda *args: paths.append(rollout(*args)) or paths[-1])
    monkeypatch.setattr(dhmbpo, "expand", lambda *args: expanded.append(args) or expand(*args))
    agent = started(horizon=3, temperature=0.5)
    monkeypatch.setattr(agent.critic, "target_value", lambda x: torch.full((len(x),), 2.0))
    agent._update()
    path, (target, value) = paths[-1], expanded
    bonus = -0.5 * path.log_prob
    torch.testing.assert_close(target[0], torch.stack([path.reward[0], *(path.reward[1:] + bonus[1:-1])]))
    torch.testing.assert_close(target[1], 2.0 + bonus[-1])
    torch.testing.assert_close(value[0], path.reward + bonus[:-1])


@pytest.mark.parametrize(("log_std", "sign"), [(0.0, -1.0), (-15.0, 1.0)])
def test_temperature_falls_while_the_policy_is_more_random_than_it_should_be(log_std, sign):
    agent = started()
    agent.policy.net.layers[-1].bias.data[..., agent.action_dim :] = log_std
    before = agent.log_temperature.item()
    agent._update()
    assert sign * (agent.log_temperature.item() - before) > 0


def test_caps_smooths_the_policy():
    def roughness(name):
        weights = {"caps_temporal": 0.0, "caps_spatial": 1e4} if name == "dhmbpo-caps" else {}
        agent = started(name=name, learning_rate=1e-2, **weights)
        for _ in range(40):
            agent._update()
        torch.manual_seed(0)
        obs = torch.randn(100, agent.obs_dim)
        return Caps(0.0, 1.0)(agent.policy, obs, obs).item()

    assert roughness("dhmbpo-caps") < 0.5 * roughness("dhmbpo")


def test_fused_update_is_the_plain_one(as_one_graph):
    plain = started(horizon=2)
    fused, *_ = build(horizon=2)
    fused.load_state_dict(plain.state_dict())
    fused.fuse()
    before = [parameter.clone() for parameter in plain.policy.parameters()]
    for agent in (plain, fused):
        torch.manual_seed(1)
        for _ in range(2):
            agent._update()
    assert len(as_one_graph) == 1
    for mine, other in zip(fused.networks.parameters(), plain.networks.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)
    assert all(not torch.equal(*pair) for pair in zip(before, plain.policy.parameters(), strict=True))
    assert fused.critic.low.item() == pytest.approx(plain.critic.low.item(), rel=1e-5)
    assert fused.mean_value.item() == pytest.approx(plain.mean_value.item(), rel=1e-4)


def test_updates_are_counted_and_seeds_reproduce():
    states = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    actions = []
    for seed in (1, 1, 2):
        agent, env, clock = build("locomotion/inverted-pendulum", seed=seed)
        agent.learn(env, clock)
        assert clock.n_updates == 5 + 10
        actions.append(agent.act(states))
    np.testing.assert_array_equal(actions[0], actions[1])
    assert not np.array_equal(actions[0], actions[2])
    assert np.isfinite(agent.value(states)).all()


def test_undiscounted_tasks_are_refused_by_name():
    task, entry = get_task("control/pendulum"), get_agent("dhmbpo")
    assert entry.refuses(task) is None
    assert "discount_rate" in entry.refuses(dataclasses.replace(task, discount_rate=0.0))
