"""Where every second costs the same and the plant is linear: found, and played bang-bang."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from hjbbench.hjb.agent import DiffusionHJB
from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.generator import LearnedGenerator
from hjbbench.hjb.replay import Replay
from hjbbench.registry import get_task
from tests.test_hjb_agent import CountingClock

DT = 0.05


@cache
def leaving(rate: float = -1.0, effort: float = 0.0, curved: float = 0.0) -> LearnedGenerator:
    """A generator of ds = (0.6 + 0.4 a + curved s^2) dt, stopping on s = 1; reward rate ``rate`` - effort a^2."""
    rng = torch.Generator().manual_seed(0)
    replay = Replay(1, 1, rng.device)
    state = 0.0
    for _ in range(1500):
        action = 2 * float(torch.rand(1, generator=rng)) - 1
        whole = state + DT * (0.6 + 0.4 * action + curved * state**2)
        following = min(whole, 1.0)
        ended = following == 1.0
        reward = (rate - effort * action**2) * (DT if not ended else DT * (1 - state) / (whole - state))
        row = (np.array([x], np.float32) for x in (state, action, following))
        replay.add(*row, reward, ended, DT)
        state = 0.0 if ended else following
        if ended:
            replay.end_episode()
    generator = LearnedGenerator(1, 1, DT, lambda s, a, s2: s2[:, 0] >= 1, HJBConfig(width=64), rng)
    generator.look(replay)
    generator.fit(replay, 500)
    generator.judge(replay)
    return generator


def test_increments_cut_short_by_the_boundary_do_not_bend_a_linear_plant() -> None:
    generator = leaving()
    assert generator.linear.used.all()
    assert generator.uniform.all()
    action = torch.linspace(-1, 1, 9)[:, None]
    for state in (0.2, 0.99):
        drift = generator.drift(torch.full((9, 1), state), action)
        torch.testing.assert_close(drift, 0.6 + 0.4 * action, rtol=0, atol=1e-4)


def test_the_task_is_least_time_where_every_second_costs_the_same() -> None:
    assert leaving().least_time
    assert not leaving(effort=0.5).least_time
    assert not leaving(rate=1.0).least_time
    assert not leaving(curved=0.5).least_time


def test_an_exit_is_timed_where_every_second_costs_the_same() -> None:
    generator, mean_only = leaving(), leaving(curved=0.5)
    state, action = torch.tensor([[0.97], [0.99]]), torch.ones(2, 1)
    last = generator.step(state, action, torch.zeros(2, 1))
    assert last.terminated.all()
    torch.testing.assert_close(last.reward, torch.tensor([-0.03, -0.01]), rtol=0, atol=2 * DT / 2**7)
    last = mean_only.step(state, action, torch.zeros(2, 1))
    assert last.terminated.all()
    assert (last.reward == mean_only.exits.payoff).all()
    assert -DT < mean_only.exits.payoff < 0


def test_the_shortest_way_out_of_an_interval_is_found_and_its_time_is_known() -> None:
    task = get_task("oracle/eikonal-d1")
    env = task.make()
    env.reset(seed=7)
    config = HJBConfig(
        width=64, warmup_steps=400, generator_first_updates=300, policy_first_updates=200, look_every=200
    )
    agent = DiffusionHJB(task, env, config, seed=1)
    agent.learn(env, CountingClock(1100))
    state = np.linspace(-0.96, 0.94, 41, dtype=np.float32)[:, None]
    far = np.abs(state) > 0.3
    assert (agent.act(state) == np.sign(state))[far].all()
    exact = task.optimal_value(state)
    assert np.linalg.norm(agent.value(state) - exact) < 0.05 * np.linalg.norm(exact)
