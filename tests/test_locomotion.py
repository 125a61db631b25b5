"""The robots are Gymnasium's own, at any rate, and the gusts act in physical time."""

import math
import os
import subprocess
import sys

import gymnasium as gym
import mujoco
import numpy as np
import pytest
import torch

from hjbbench.errors import UserError
from hjbbench.registry import get_task
from tasks.gusty import Gusts
from tasks.locomotion import ROBOTS, make, quiet_compiler

GUSTY = ("hopper", "half-cheetah", "walker2d")
NAMES = [f"locomotion/{name}" for name in ROBOTS] + [f"locomotion/{name}-gusty" for name in GUSTY]
NEVER = 1e-9  # pushes per second


def roll(env, actions, seed):
    """Observations, rewards and plant state of an episode driven by given actions, resets ignored."""
    observations, rewards = [env.reset(seed=seed)[0]], []
    for action in actions:
        obs, reward, *_ = env.step(action)
        observations.append(obs)
        rewards.append(reward)
    return np.array(observations), np.array(rewards), env.unwrapped.state_vector()


def uniform_actions(env, n, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, *env.action_space.shape)).astype(np.float32)


@pytest.mark.parametrize("name", ROBOTS)
def test_a_robot_at_its_own_rate_is_gymnasiums_environment(name):
    robot, env = ROBOTS[name], get_task(f"locomotion/{name}").make()
    with quiet_compiler():
        raw = gym.make(robot.gym_id)
    actions = uniform_actions(env, 50)
    rescaled = [env.action(a) for a in actions] if isinstance(env, gym.wrappers.RescaleAction) else actions
    np.testing.assert_array_equal(raw.action_space.low, -raw.action_space.high)
    np.testing.assert_allclose(rescaled, actions * raw.action_space.high, rtol=1e-6)  # float32
    obs, rewards, _ = roll(env, actions, seed=3)
    raw_obs, raw_rewards, _ = roll(raw, rescaled, seed=3)
    np.testing.assert_array_equal(obs, raw_obs)
    np.testing.assert_array_equal(rewards, raw_rewards)
    assert env.action_space == gym.spaces.Box(-1, 1, raw.action_space.shape)
    assert env.observation_space == raw.observation_space
    assert raw.unwrapped.model.opt.timestep == robot.physics_step_s
    assert (raw.unwrapped.frame_skip, raw.spec.max_episode_steps) == (robot.frame_skip, robot.n_steps)
    assert get_task(f"locomotion/{name}").discount == pytest.approx(robot.gamma, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_of_a_task_are_in_order(name):
    task = get_task(name)
    assert list(task.targets) == sorted(task.targets)
    assert task.reference.random < task.targets[0]
    assert task.targets[-1] < task.reference.reference
    assert "seeds 0-99" in task.reference.provenance


@pytest.mark.parametrize("name", ["inverted-pendulum", "hopper", "hopper-gusty", "walker2d", "walker2d-gusty"])
def test_the_random_reference_can_be_measured_again(name):
    task = get_task(f"locomotion/{name}")
    env, returns = task.make(), []
    for seed in range(100):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        returns.append(0.0)
        ended = False
        while not ended:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            returns[-1] += reward
            ended = terminated or truncated
    assert np.mean(returns) == pytest.approx(task.reference.random, abs=np.std(returns) / 10)


@pytest.mark.parametrize("name", [name for name in NAMES if get_task(name).terminated])
def test_the_termination_rule_is_the_environments(name):
    task = get_task(name)
    env, rng = task.make(), np.random.default_rng(1)
    plant = env.unwrapped
    observations, truth = [], []
    for episode in range(40):
        env.reset(seed=episode)
        if episode % 2:
            qpos, qvel = plant.data.qpos, plant.data.qvel
            plant.set_state(qpos + rng.normal(0, 0.1, qpos.shape), qvel + rng.normal(0, 2, qvel.shape))
        for _ in range(25):  # goes on past a fall, to see both sides of the rule
            action = rng.choice([0, 0.3, 1]) * rng.uniform(-1, 1, env.action_space.shape)
            obs, _, terminated, *_ = env.step(action.astype(np.float32))
            observations.append(obs)
            truth.append(terminated)
    batch = np.array(observations).reshape(40, 25, -1)
    expected = np.array(truth).reshape(40, 25)
    assert 0.02 < expected.mean() < 0.98
    np.testing.assert_array_equal(task.terminated(None, None, batch), expected)
    rule = task.terminated(None, None, torch.as_tensor(batch))
    assert rule.dtype == torch.bool
    np.testing.assert_array_equal(rule.numpy(), expected)
    assert bool(task.terminated(None, None, batch[0, 0])) == expected[0, 0]


@pytest.mark.parametrize("name", ["inverted-pendulum", "hopper", "ant"])
def test_a_state_that_is_not_finite_terminates(name):
    task = get_task(f"locomotion/{name}")
    obs = task.make().reset(seed=0)[0]
    assert not task.terminated(None, None, obs)
    obs[-1] = np.nan
    assert task.terminated(None, None, obs)


def test_the_same_behaviour_has_the_same_return_at_every_rate():
    robot = ROBOTS["half-cheetah"]
    held = uniform_actions(make(robot), 4)  # each for 0.5 s
    results = {}
    for dt in (0.01, 0.05, 0.1, 0.5):
        _, rewards, state = roll(make(robot, dt), np.repeat(held, round(0.5 / dt), axis=0), seed=0)
        results[dt] = rewards.sum(), state
    for total, state in results.values():
        assert total == pytest.approx(results[0.05][0], rel=1e-9)
        np.testing.assert_array_equal(state, results[0.05][1])


@pytest.mark.parametrize("dt", [None, 0.01, 0.1, 1.0])
def test_an_episode_lasts_as_long_at_every_rate(dt):
    task = get_task("locomotion/reacher")
    env = task.make(dt)
    env.reset(seed=0)
    steps, truncated = 0, False
    while not truncated:
        *_, truncated, _ = env.step(env.action_space.sample())
        steps += 1
    assert steps * (dt or task.dt) == pytest.approx(task.horizon_s)


@pytest.mark.parametrize("dt", [0.013, 0.001, 0, -0.008, math.nan, math.inf, 8.002])
def test_a_rate_the_physics_cannot_do_is_refused_in_one_line(dt):
    with pytest.raises(UserError, match=r"physics step 0\.002 s.*8 s") as refusal:
        get_task("locomotion/hopper").make(dt)
    assert f"dt={dt}:" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", GUSTY)
def test_gusts_do_not_know_how_often_decisions_are_made(name):
    task, h = get_task(f"locomotion/{name}-gusty"), ROBOTS[name].physics_step_s
    held = uniform_actions(task.make(), 20)  # each for ten physics steps
    states = [roll(task.make(skip * h), np.repeat(held, 10 // skip, axis=0), seed=5)[2] for skip in (1, 5, 10)]
    np.testing.assert_array_equal(states[0], states[1])
    np.testing.assert_array_equal(states[0], states[2])
    calm = roll(make(ROBOTS[name], 10 * h), held, seed=5)[2]
    assert np.abs(states[0] - calm).max() > 0.1


@pytest.mark.parametrize("name", GUSTY)
def test_without_wind_the_gusty_plant_is_the_calm_one(name):
    calm, still = make(ROBOTS[name]), Gusts(make(ROBOTS[name]), diffusion=0.0, push_rate=NEVER, push_speed=1.0)
    actions = uniform_actions(calm, 50)
    np.testing.assert_array_equal(roll(calm, actions, seed=2)[0], roll(still, actions, seed=2)[0])


def airborne_hopper(physics_step_s=0.002, **gusts):
    """A hopper far above the ground, joints bent away from their limits, deciding every 40 ms."""
    env = Gusts(make(ROBOTS["hopper"], dt=0.04), **gusts)
    env.reset(seed=0)
    plant = env.unwrapped
    plant.model.opt.timestep = physics_step_s
    plant.frame_skip = round(0.04 / physics_step_s)
    start = np.array([0, 9, 0, -1, -1, 0.1])
    return env, lambda: plant.set_state(start, np.zeros(6))


@pytest.mark.parametrize("physics_step_s", [0.002, 0.0005])
def test_a_velocity_diffuses_with_the_square_root_of_time(physics_step_s):
    env, lift = airborne_hopper(physics_step_s, diffusion=0.3, push_rate=NEVER, push_speed=1.0)
    speeds = []
    for _ in range(400 if physics_step_s == 0.002 else 200):
        lift()
        env.step(np.zeros(3, np.float32))
        speeds.append(env.unwrapped.data.qvel[:2].copy())
    drift = np.array([0.0, -9.81 * 0.04])
    np.testing.assert_allclose(np.mean(speeds, axis=0), drift, atol=4 * 0.06 / math.sqrt(len(speeds)))
    np.testing.assert_allclose(np.std(speeds, axis=0), 0.3 * math.sqrt(0.04), rtol=0.15)


def test_a_push_shoves_the_whole_body_along_x():
    env, lift = airborne_hopper(diffusion=0.0, push_rate=25.0, push_speed=0.5)
    pushes = []
    for _ in range(30):
        lift()
        env.step(np.zeros(3, np.float32))
        speed = env.unwrapped.data.qvel
        pushes.append(speed[0] / 0.5)
        np.testing.assert_allclose(speed[2:], 0, atol=0.05)  # nothing turns
    np.testing.assert_allclose(pushes, np.round(pushes), atol=0.02)
    assert {-1, 0, 1} <= set(np.round(pushes))


@pytest.mark.parametrize("step_s", [0.002, 0.02])
def test_pushes_are_a_poisson_process_in_seconds(step_s):
    env = Gusts(make(ROBOTS["hopper"]), diffusion=0.0, push_rate=1.5, push_speed=1.0)
    env.reset(seed=0)
    seconds = 300
    kicks = np.array([env.velocity_noise(step_s)[0] for _ in range(round(seconds / step_s))])
    counts = np.abs(kicks).reshape(seconds, -1).sum(axis=1)  # two pushes in one step hardly ever meet
    assert counts.mean() == pytest.approx(1.5, abs=4 * math.sqrt(1.5 / seconds))
    assert counts.var() == pytest.approx(1.5, rel=0.35)  # four standard errors of a Poisson count's variance
    assert abs(np.sign(kicks).sum()) < 4 * math.sqrt(1.5 * seconds)


def test_the_seed_determines_the_wind():
    env = get_task("locomotion/walker2d-gusty").make()
    actions = uniform_actions(env, 30)
    first, second, other = (roll(env, actions, seed)[0] for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
    env.reset(seed=7)
    unseeded = [roll(env, actions, None)[0] for _ in range(2)]
    assert not np.array_equal(*unseeded)
    env.reset(seed=7)
    np.testing.assert_array_equal(roll(env, actions, None)[0], unseeded[0])


def test_the_wind_is_seen_through_the_state_alone():
    env = get_task("locomotion/hopper-gusty").make()
    obs, _, _ = roll(env, uniform_actions(env, 20), seed=0)
    data = env.unwrapped.data
    np.testing.assert_array_equal(obs[-1], np.concatenate([data.qpos[1:], np.clip(data.qvel, -10, 10)]))
    assert not data.qfrc_applied.any()
    assert not data.xfrc_applied.any()


@pytest.mark.parametrize("name", NAMES)
def test_every_robot_has_a_gymnasium_id(name):
    task = get_task(name)
    env = gym.make(f"hjbbench/{name.replace('/', '-')}-v{task.version}")
    actions = uniform_actions(env, 5)
    np.testing.assert_array_equal(roll(env, actions, seed=1)[0], roll(task.make(), actions, seed=1)[0])


def test_the_gymnasium_id_takes_a_rate_and_needs_no_version():
    with pytest.warns(UserWarning, match="latest versioned"):
        env = gym.make("hjbbench/locomotion-hopper", dt=0.016)
    assert env.unwrapped.dt == pytest.approx(0.016)
    assert env.spec.id == "hjbbench/locomotion-hopper-v1"


def test_importing_the_tasks_does_not_import_mujoco():
    code = "import sys, tasks; sys.exit('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_only_the_warning_about_the_total_mass_is_silenced(capfd):
    get_task("locomotion/half-cheetah").make()
    assert "settotalmass" not in "".join(capfd.readouterr())
    before = mujoco.get_mju_user_warning()
    with quiet_compiler(), pytest.warns(RuntimeWarning, match="another matter"):
        mujoco.get_mju_user_warning()("another matter")
    assert mujoco.get_mju_user_warning() is before


def test_a_frame_without_a_display_is_not_black(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    env = get_task("locomotion/hopper-gusty").make(render_mode="rgb_array")
    if sys.platform == "linux":
        assert os.environ["MUJOCO_GL"] == "egl"
    env.reset(seed=0)
    try:
        frame = env.render()
    except Exception as error:  # whatever the driver raises
        pytest.skip(f"no OpenGL here: {error}")
    assert frame.ndim == 3
    assert frame.std() > 10
    env.close()
