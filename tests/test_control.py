"""The pendulum: Gym's dynamics, a smooth reward, and the same plant at every control interval."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from hjbbench.errors import UserError
from tasks.control import PendulumEnv


def test_dynamics_agree_with_gym_in_the_limit_of_small_steps():
    """Gym integrates at 0.05 s with a semi-implicit Euler step; refined, it converges to ours."""
    ours = PendulumEnv()
    ours.reset(seed=0)
    theirs = gym.make("Pendulum-v1").unwrapped
    theirs.reset(seed=0)
    theirs.dt = 0.05 / 256
    theirs.state = np.array([ours._angle, ours._speed])
    rng = np.random.default_rng(0)
    for _ in range(20):
        torque = rng.uniform(-1, 1)
        ours.step(np.array([torque]))
        for _ in range(256):
            theirs.step(np.array([2 * torque]))
    assert np.array([ours._angle, ours._speed]) == pytest.approx(theirs.state, abs=0.02)


def test_reward_agrees_with_gyms_near_the_top_and_is_smooth_at_the_bottom():
    env = PendulumEnv(dt=0.0125)
    env.reset(seed=0)
    env._angle, env._speed = 0.05, 0.0
    _, reward, *_ = env.step(np.zeros(1))
    assert reward / 0.25 == pytest.approx(-(0.05**2), rel=0.05)
    rewards = []
    for angle in (np.pi - 0.01, np.pi + 0.01):
        env._angle, env._speed = angle, 0.0
        rewards.append(env.step(np.zeros(1))[1])
    assert rewards[0] == pytest.approx(rewards[1], abs=1e-9)


def test_return_of_the_same_behaviour_does_not_depend_on_dt():
    returns = []
    for dt in (0.0125, 0.05, 0.2):
        env = PendulumEnv(dt=dt)
        env.reset(seed=3)
        total, elapsed, over = 0.0, 0.0, False
        while not over:
            torque = 1.0 if int(elapsed / 0.4 + 1e-9) % 2 else -1.0
            _, reward, _, over, _ = env.step(np.array([torque]))
            total, elapsed = total + reward, elapsed + dt
        returns.append(total)
    assert returns == pytest.approx([returns[0]] * 3, rel=1e-9)


def test_bad_dt_is_refused():
    for dt in (0.0, 0.01, 0.03, -0.05, 20.0):
        with pytest.raises(UserError, match="dt is"):
            PendulumEnv(dt=dt)


def test_picture_shows_something():
    env = PendulumEnv(render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape[2] == 3
    assert picture.std() > 5
    env.close()
