"""Evaluation is paired between agents, fresh along a run, and blind to how the agent computes."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import numpy as np
import pytest

from hjbbench.environment import TrainingEnv
from hjbbench.errors import Diverged
from hjbbench.evaluation import Evaluator
from hjbbench.greedy import Exact, Greedy
from hjbbench.registry import all_tasks, get_agent, get_task
from hjbbench.seeding import derive_seed
from tasks.oracle.linear_quadratic import oscillator_problem

TASK = get_task("oracle/oscillator")


class Feedback:
    """The oscillator's optimal feedback, or a multiple of it, with its exact value."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def act(self, obs, *, deterministic=True):
        return -self.factor * obs @ oscillator_problem(0.0).gain.T / 6.0

    def value(self, obs):
        return oscillator_problem(0.0).optimal_value(obs)


def test_same_seed_same_episodes_for_every_agent_and_fresh_ones_next_time():
    first, second = Evaluator(TASK, 3, seed=1), Evaluator(TASK, 3, seed=1)
    a, b = first.evaluate(Feedback()), second.evaluate(Feedback())
    assert a == b
    assert first.evaluate(Feedback())["return_mean"] != a["return_mean"]
    assert Evaluator(TASK, 3, seed=2).evaluate(Feedback())["return_mean"] != a["return_mean"]


def test_row_is_what_one_episode_at_a_time_gives():
    row = Evaluator(TASK, 4, seed=0).evaluate(Feedback())
    singles = []
    for episode in range(4):
        env = TASK.make()
        obs, _ = env.reset(seed=derive_seed(TASK.name, 0, "evaluation", 0, episode))
        total, over = 0.0, False
        while not over:
            obs, reward, _, over, _ = env.step(Feedback().act(obs))
            total += reward
        singles.append(total)
    assert row["return_mean"] == pytest.approx(np.mean(singles), rel=1e-6)
    assert row["return_min"] == pytest.approx(min(singles), rel=1e-6)
    assert row["length_s_mean"] == 5.0
    assert row["success_rate"] is None
    assert row["value_error_rel_l2"] == pytest.approx(0.0, abs=1e-6)


def test_value_error_of_a_scaled_value():
    agent = Feedback()
    agent.value = lambda obs: 1.1 * oscillator_problem(0.0).optimal_value(obs)
    assert Evaluator(TASK, 2, 0).evaluate(agent)["value_error_rel_l2"] == pytest.approx(0.1)


def test_regret_is_what_optimal_control_earns_more_in_the_same_episodes():
    noisy = get_task("oracle/oscillator-noisy")  # the same feedback is optimal with noise
    assert Evaluator(noisy, 4, 0).evaluate(Feedback())["regret_rel"] == pytest.approx(0.0, abs=1e-5)
    best = Evaluator(noisy, 4, 0).evaluate(Feedback())["return_mean"]
    timid = Evaluator(noisy, 4, 0).evaluate(Feedback(0.5))
    assert timid["regret_rel"] == pytest.approx((best - timid["return_mean"]) / -best, rel=1e-5)
    assert timid["regret_rel"] > 0.01


def test_regret_is_against_the_task_s_reference_where_controls_are_two():
    task = get_task("oracle/double-integrator")  # near its target the gradient alone chooses the wrong one of the two
    best = Greedy(task.equations, task.dt, Exact(task.equations))
    row = Evaluator(task, 20, 0).evaluate(best)
    assert row["regret_rel"] == 0.0
    assert row["return_mean"] == pytest.approx(task.reference.reference, rel=0.15)


@pytest.mark.parametrize("name", [name for name, task in all_tasks().items() if task.equations is not None])
def test_nobody_earns_more_than_optimal_control(name):
    task, random = get_task(name), get_agent("random")
    agent = random.factory(task, task.make(), random.config, 0)
    assert Evaluator(task, 2, 0).evaluate(agent)["regret_rel"] > 0.0


def test_value_is_not_asked_where_the_task_knows_none():
    blind = dataclasses.replace(TASK, optimal_value=None)
    assert Evaluator(blind, 2, 0).evaluate(Feedback())["value_error_rel_l2"] is None


def test_nan_actions_diverge_and_wrong_shapes_are_errors():
    with pytest.raises(Diverged, match="not finite"):
        Evaluator(TASK, 2, 0).evaluate(Feedback(factor=np.nan))
    with pytest.raises(ValueError, match="shape"):
        TrainingEnv(TASK.make(), TASK.dt, 0, 10).step(np.zeros(3))


def test_actions_are_clipped_in_training_and_evaluation_alike():
    env = TrainingEnv(TASK.make(), TASK.dt, 0, 10)
    env.reset()
    plain = TASK.make()
    plain.reset(seed=0)
    np.testing.assert_array_equal(env.step(np.full(2, 7.0))[0], plain.step(np.ones(2))[0])


def test_training_env_owns_seed_budget_and_episodes():
    env = TrainingEnv(TASK.make(), TASK.dt, seed=11, budget_steps=101)
    start, _ = env.reset(seed=12345)  # what an agent asks for does not count
    np.testing.assert_array_equal(start, TASK.make().reset(seed=11)[0])
    total = 0.0
    for _ in range(100):
        *_, reward, _, truncated, _ = env.step(np.zeros(2))
        total += reward
    assert truncated
    assert env.episodes == [
        {"n_steps": 100, "t_env_s": 5.0, "return": pytest.approx(total), "length_s": 5.0, "terminated": 0}
    ]
    env.reset()
    env.step(np.zeros(2))
    with pytest.raises(RuntimeError, match="past its budget of 101"):
        env.step(np.zeros(2))


def test_environment_that_leaves_the_finite_numbers_diverges():
    class Broken(gym.Wrapper):
        def step(self, action):
            obs, _, terminated, truncated, info = self.env.step(action)
            return obs, float("inf"), terminated, truncated, info

    env = TrainingEnv(Broken(TASK.make()), TASK.dt, 0, 10)
    env.reset()
    with pytest.raises(Diverged, match="decision 1"):
        env.step(np.zeros(2))
