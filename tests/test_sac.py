"""SAC through the harness is Stable-Baselines3's SAC, bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from stable_baselines3 import SAC

from hjbbench.clock import RunClock
from hjbbench.environment import TrainingEnv
from hjbbench.registry import get_agent, get_task


def test_equal_to_calling_stable_baselines3_directly():
    task = get_task("oracle/oscillator")
    entry = get_agent("sac")
    env = TrainingEnv(task.make(), task.dt, seed=5, budget_steps=160)
    ours = entry.factory(task, env, entry.config, 7)
    evaluations = []
    clock = RunClock(
        160, (40, 160), lambda c: evaluations.append(ours.act(np.zeros((3, 4), np.float32))), print, task.dt
    )
    ours.learn(env, clock)

    direct_env = TrainingEnv(task.make(), task.dt, seed=5, budget_steps=160)
    settings = {"learning_rate": 1e-3, "tau": 0.01, "gamma": task.discount, "ent_coef": "auto_0.1"}
    direct = SAC("MlpPolicy", direct_env, **settings, seed=7, device="cpu").learn(160)
    states = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    np.testing.assert_array_equal(ours.act(states), direct.predict(states, deterministic=True)[0])
    for name, weights in direct.policy.state_dict().items():
        torch.testing.assert_close(ours.model.policy.state_dict()[name], weights, rtol=0, atol=0)
    assert clock.n_steps == 160
    assert clock.n_updates == 59  # one after every decision beyond the 100th; the last is after the last tick
    assert evaluations[0].shape == (3, 2)


def test_discount_follows_dt():
    task = get_task("oracle/oscillator")
    entry = get_agent("sac")
    fast = dataclasses.replace(task, dt=task.dt / 2)
    agent = entry.factory(fast, fast.make(dt=fast.dt), entry.config, 0)
    assert abs(agent.model.gamma**2 - task.discount) < 1e-12
