"""What every registered task and agent must do, third parties included."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch

from hjbbench.clock import RunClock
from hjbbench.environment import TrainingEnv
from hjbbench.errors import UserError
from hjbbench.registry import all_agents, all_tasks

TASKS = sorted(all_tasks())
AGENTS = sorted(all_agents())

BRIEF = {
    "warmup_steps": 10,
    "learning_starts": 10,
    "first_updates": 2,
    "model_first_updates": 2,
    "generator_first_updates": 2,
    "policy_first_updates": 2,
    "generator_members": 2,
    "width": 32,
    "model_width": 32,
    "batch_size": 32,
    "updates_per_step": 2,
    "rollouts": 500,
    "model_epochs_max": 2,
}
"""Settings with which an agent learns within a test; those that an agent does not have are left out."""


def rollout(env, seed: int, n_steps: int):
    rng = np.random.default_rng(seed)
    obs, _ = env.reset(seed=seed)
    seen, rewards = [obs], []
    for _ in range(n_steps):
        obs, reward, terminated, truncated, _ = env.step(rng.uniform(-1, 1, env.action_space.shape).astype(np.float32))
        seen.append(obs)
        rewards.append(float(reward))
        if terminated or truncated:
            break
    return np.array(seen), np.array(rewards), terminated


@pytest.mark.parametrize("name", TASKS)
def test_task(name):
    task = all_tasks()[name]
    env = task.make(dt=task.dt)
    assert env.observation_space.shape is not None
    assert len(env.observation_space.shape) == 1
    assert (env.action_space.low == -1).all()
    assert (env.action_space.high == 1).all()
    seen, rewards, terminated = rollout(env, 3, 40)
    assert np.isfinite(seen).all()
    assert np.isfinite(rewards).all()
    again, same_rewards, _ = rollout(env, 3, 40)
    np.testing.assert_array_equal(seen, again)
    np.testing.assert_array_equal(rewards, same_rewards)
    other, *_ = rollout(env, 4, 40)
    assert not np.array_equal(seen[0], other[0])  # starts are drawn, not fixed
    if task.terminated is not None:
        before, after = seen[:-1].astype(np.float32), seen[1:].astype(np.float32)
        actions = np.zeros((len(before), *env.action_space.shape), np.float32)
        ends = np.asarray(task.terminated(before, actions, after))
        tensors = task.terminated(*(torch.as_tensor(x) for x in (before, actions, after)))
        np.testing.assert_array_equal(ends, tensors.numpy())
        assert not ends[:-1].any()
        assert bool(ends[-1]) == terminated
    assert list(task.targets) == sorted(task.targets)
    assert task.reference.random < task.targets[0] <= task.targets[-1]
    assert task.reference.score(task.reference.reference) == 1
    assert task.reference.provenance
    assert task.horizon_s / task.dt == pytest.approx(round(task.horizon_s / task.dt))
    if task.optimal_value is not None:
        assert task.optimal_value(seen).shape == (len(seen),)
    with pytest.raises(UserError, match="dt"):
        task.make(dt=-1.0)
    env.close()
    registered = gymnasium.make(f"hjbbench/{name.replace('/', '-')}-v{task.version}")
    assert registered.observation_space == env.observation_space
    registered.close()


@pytest.mark.parametrize("name", TASKS)
def test_episode_ends_at_the_horizon_and_reports_its_metrics(name):
    task = all_tasks()[name]
    if task.horizon_s / task.dt > 200:
        pytest.skip("a long episode; the families test their own time limits")
    env = task.make(dt=task.dt)
    env.reset(seed=0)
    steps, over = 0, False
    while not over:
        *_, terminated, truncated, info = env.step(np.zeros(env.action_space.shape, np.float32))
        steps, over = steps + 1, terminated or truncated
    assert terminated or steps == round(task.horizon_s / task.dt)
    assert set(task.metrics) <= set(info.get("episode_metrics", {}))
    env.close()


@pytest.mark.parametrize("name", AGENTS)
def test_agent(name, tmp_path):
    entry = all_agents()[name]
    accepted = [task for task in all_tasks().values() if entry.refuses(task) is None]
    task = next((task for task in accepted if task.equations is None), accepted[0])
    budget = 50 if task.equations is None else 3  # rounds of a solver
    brief = {field: value for field, value in BRIEF.items() if hasattr(entry.config, field)}
    config = dataclasses.replace(entry.config, **brief)

    def train(seed: int):
        env = TrainingEnv(task.make(dt=task.dt), task.dt, seed, budget)
        agent = entry.factory(task, env, config, seed)
        clock = RunClock(budget, (budget // 2, budget), lambda c: None, lambda row: None, task.dt)
        agent.learn(env, clock)
        assert env.n_steps == clock.n_steps == budget
        assert clock.n_updates > 0 or not brief
        return env, agent

    env, agent = train(1)
    obs = np.stack([env.observation_space.sample().clip(-1, 1) for _ in range(3)])
    actions = agent.act(obs)
    assert actions.shape == (3, *env.action_space.shape)
    assert agent.act(obs[0]).shape == env.action_space.shape
    assert (np.abs(actions) <= 1).all()
    assert entry.summary
    assert entry.config == type(entry.config)()

    if name != "random":  # whose policy is its generator
        agent.save(tmp_path / "policy.pt")
        torch.load(tmp_path / "policy.pt", weights_only=True)
        fresh = entry.factory(task, env, config, 99)
        fresh.load(tmp_path / "policy.pt")
        np.testing.assert_array_equal(fresh.act(obs), agent.act(obs))
        np.testing.assert_array_equal(train(1)[1].act(obs), agent.act(obs))
    if hasattr(agent, "value"):
        assert np.isfinite(agent.value(obs)).all()
        assert agent.value(obs).shape == (3,)
