"""The lane change: highway-env's own dynamics, a reward in continuous time, drivers one cannot see through."""

from __future__ import annotations

import math
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from baselines.scripted import CAR_LENGTH, Scripted, ScriptedConfig, decode
from hjbbench.errors import UserError
from hjbbench.registry import AGENTS, TASKS
from tasks.highway import env as lane_env
from tasks.highway.drivers import NEUTRAL
from tasks.highway.measures import EpisodeLog, lateral_jerk
from tasks.highway.observation import OBS_DIM, SLOTS, lane_weights
from tasks.lane_change import DT, FRAMES, HORIZON_S, make, terminated
from tests.lane_change_scenes import random_policy, rollout, scene

TASK = TASKS["highway/lane-change"]
SCRIPTED = Scripted(TASK, None, ScriptedConfig(), seed=0)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*A Box observation space")
def test_task_is_registered_and_spaces_are_flat():
    env = TASK.make()
    assert env.action_space == gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    assert env.observation_space.shape == (OBS_DIM,)
    assert len(env.unwrapped.road.vehicles) == 11
    assert (TASK.dt, TASK.horizon_s) == (DT, HORIZON_S)
    assert list(TASK.targets) == sorted(TASK.targets)
    assert TASK.reference.random < TASK.targets[0] < TASK.targets[-1]
    check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("dt", [0.0, 0.03, 0.15, 2.0, -0.1, math.nan])
def test_dt_that_does_not_divide_is_refused(dt):
    with pytest.raises(UserError, match=r"dt is .* allows 0\.05, 0\.1, 0\.2, 0\.25, 0\.5, 1"):
        make(dt)


def test_episode_lasts_its_horizon_at_every_dt():
    for dt, frames in FRAMES.items():
        env = make(dt)
        scene_env = env.reset(seed=3) and env.unwrapped
        scene(env, (500.0, 4.0, 25.0), [])
        ends = [env.step(np.zeros(2))[2:4] for _ in range(round(HORIZON_S / dt))]
        assert ends[:-1] == [(False, False)] * (len(ends) - 1)
        assert ends[-1] == (False, True)
        assert scene_env.steps == len(ends) * frames
        assert scene_env.vehicle.position[0] == pytest.approx(500.0 + 25.0 * HORIZON_S)


def test_return_of_a_behaviour_does_not_depend_on_dt():
    for seed in range(3):
        plan = np.random.default_rng(seed).uniform(-0.3, 0.3, (75, 2)) * [1.0, 0.3]  # 0.2 s pieces
        returns = []
        for dt in (0.05, 0.1, 0.2):
            held = iter(np.repeat(plan, round(0.2 / dt), axis=0))
            returns.append(rollout(make(dt), lambda obs, held=held: next(held), seed).rewards.sum())
        assert returns == pytest.approx([returns[0]] * 3, rel=1e-6)


def test_reward_matches_its_formula_on_an_empty_road():
    env = make(0.05)
    env.reset(seed=0)
    scene(env, (500.0, 4.0, 21.0), [])
    plant = env.unwrapped
    _, reward, *_ = env.step(np.array([0.4, 0.5]))
    dy, speed = plant.vehicle.position[1] - 4.0 * plant.target_lane, 21.0 + 2.0 * 0.05
    a_lat = speed**2 * math.sin(math.atan(math.tan(0.025) / 2)) / 2.5
    rate = (dy / 4) ** 2 + ((speed - 25) / 10) ** 2 + 0.5 * (2 / 3) ** 2 + 0.5 * (a_lat / 3) ** 2
    assert reward == pytest.approx(-rate * 0.05, rel=1e-9)


def test_reset_is_reproducible_and_seeds_differ():
    first, second = make(), make()
    runs = [rollout(env, random_policy(1, 0.3), 11) for env in (first, second, first)]
    for run in runs[1:]:
        assert np.array_equal(run.obs, runs[0].obs)
        assert np.array_equal(run.rewards, runs[0].rewards)
    assert not np.array_equal(first.reset(seed=12)[0], runs[0].obs[0])


def test_termination_rule_agrees_with_the_environment():
    env, crashed, off_road, n_wrong = make(), 0, 0, 0
    full_throttle = lambda obs: np.array([1.0, 0.0])  # noqa: E731
    for seed in range(20):
        run = rollout(env, random_policy(seed) if seed % 2 else full_throttle, seed)
        said = terminated(run.obs[:-1], None, run.obs[1:])
        actual = np.zeros(len(said), dtype=bool)
        actual[-1] = run.over
        n_wrong += int((said != actual).sum())
        assert np.array_equal(terminated(None, None, torch.as_tensor(run.obs[1:])).numpy(), said)
        crashed += run.metrics["collision"] == 1.0
        off_road += run.metrics["off_road"] == 1.0
    assert n_wrong == 0
    assert crashed > 2
    assert off_road > 2


def test_crash_is_seen_between_decisions():
    env = make(1.0)
    env.reset(seed=0)
    scene(env, (500.0, 0.0, 30.0), [(0, 509.0, 20.0, 20.0, NEUTRAL)])
    obs, reward, over, _, info = env.step(np.zeros(2))
    assert over
    assert info["episode_metrics"]["collision"] == 1.0
    assert env.unwrapped.steps < 20
    assert reward < -lane_env.TERMINAL_COST
    assert terminated(None, None, obs)


@pytest.mark.parametrize(("lane", "speed"), [(0, 0.0), (1, 0.0), (0, 40.0), (1, 15.0)])
def test_driving_on_is_better_than_crashing_even_from_the_worst_states(lane, speed):
    env = make()
    obs, _ = env.reset(seed=0)
    env.unwrapped.target_lane = 2
    scene(env, (500.0, 4.0 * lane, speed), [])
    obs, value, discount = env.unwrapped.observe(), 0.0, 1.0
    for _ in range(150):
        obs, reward, over, *_ = env.step(SCRIPTED.act(obs))
        value += discount * reward
        discount *= TASK.discount
    assert not over
    assert value > -0.75 * lane_env.TERMINAL_COST


def test_observation_moves_smoothly():
    env = make(0.05)
    jumps = np.concatenate([np.diff(rollout(env, lambda obs: np.zeros(2), seed).obs, axis=0) for seed in range(5)])
    accelerations = [5, *range(9, OBS_DIM, 3)]  # brake lights: they jump because drivers' decisions do
    assert np.abs(np.delete(jumps, accelerations, axis=1)).max() < 0.12


def test_scripted_reads_the_slots_as_they_are_written():
    env = make()
    env.reset(seed=0)
    scene(env, (500.0, 0.0, 24.0), [(0, 530.0, 21.0, 21.0, NEUTRAL), (1, 480.0, 26.0, 26.0, NEUTRAL)])
    slots = env.unwrapped.observe()[SLOTS].reshape(2, 3, 3)
    assert decode(slots[0, 1]) == pytest.approx((30.0 - CAR_LENGTH, -3.0), abs=1e-4)
    assert decode(slots[1, 2]) == pytest.approx((20.0 - CAR_LENGTH, 2.0), abs=1e-4)
    assert not slots[:, 0].any()


def test_lane_weights_are_continuous_and_share_a_car_between_adjacent_slots():
    lateral = np.linspace(-9.0, 9.0, 1801)
    weights = lane_weights(lateral)
    assert np.abs(np.diff(weights)).max() < 0.011
    assert weights[:, np.abs(lateral) < 5].sum(axis=0) == pytest.approx(1.0)
    assert lane_weights(np.array([-4.0, 0.0, 4.0])) == pytest.approx(np.eye(3))


def log_of(in_place: list[bool]) -> EpisodeLog:
    log = EpisodeLog(frame_hz=20, horizon_s=15.0)
    for settled in in_place:
        log.add(0.0, 0.0, 10.0, 0.0, settled)
    return log


def test_success_needs_one_second_in_place_without_accident():
    almost, held = [False] * 30 + ([True] * 19 + [False]) * 3, [False] * 30 + [True] * 20 + [False] * 10
    assert log_of(almost).metrics(False, False)["success"] == 0.0
    assert log_of(almost).metrics(False, False)["time_to_complete_s"] == 15.0
    assert log_of(held).metrics(False, False)["success"] == 1.0
    assert log_of(held).metrics(False, False)["time_to_complete_s"] == pytest.approx(2.5)
    assert log_of(held).metrics(True, False)["success"] == 0.0
    assert log_of(held).metrics(False, True)["success"] == 0.0
    assert log_of([True] * 5).metrics(True, False)["success"] == 0.0  # an episode shorter than the hold


@pytest.mark.parametrize(("offset", "heading", "success"), [(0.25, 0.0, 1.0), (0.35, 0.0, 0.0), (0.0, 0.021, 0.0)])
def test_in_place_is_measured_on_the_ego(offset, heading, success):
    env = make(1.0)
    env.reset(seed=0)
    env.unwrapped.target_lane = 1
    scene(env, (500.0, 4.0 + offset, 1.0), [])
    env.unwrapped.vehicle.heading = heading
    for _ in range(15):
        *_, info = env.step(np.array([0.0, 0.0]))
    assert info["episode_metrics"]["success"] == success


@pytest.mark.parametrize("hz", [0.2, 0.5])
def test_r79_jerk_of_a_sine(hz):
    t = np.arange(0.0, 60.0, 1 / 20)
    gain = 1.0 / math.sqrt(1.0 + (hz / 0.5) ** 8)  # 4th-order Butterworth at 0.5 Hz
    expected = 3.0 * gain * 2.0 * math.sin(math.pi * hz * 0.5) / 0.5  # mean slope over 0.5 s
    assert lateral_jerk(3.0 * np.sin(2 * math.pi * hz * t), 20) == pytest.approx(expected, rel=0.03)
    assert lateral_jerk(np.zeros(100), 20) == 0.0


def test_metrics_are_the_declared_ones_and_finite():
    metrics = rollout(make(), random_policy(0), 0).metrics
    assert tuple(metrics) == TASK.metrics
    assert np.isfinite(list(metrics.values())).all()


def test_rendering_shows_the_road():
    env = make(render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    env.close()
    assert frame.dtype == np.uint8
    assert frame.std() > 5.0


def test_scripted_changes_lanes_where_random_does_not(tmp_path):
    env = make()
    agent = AGENTS["scripted"].factory(TASK, env, ScriptedConfig(), 0)
    driven = [rollout(env, agent.act, seed) for seed in range(12)]
    random = [rollout(env, random_policy(seed), seed) for seed in range(12)]
    assert np.mean([run.metrics["success"] for run in driven]) >= 0.75
    assert sum(run.metrics["collision"] + run.metrics["off_road"] for run in driven) == 0
    assert np.mean([run.metrics["success"] for run in random]) < 0.1
    assert np.mean([run.rewards.sum() - other.rewards.sum() for run, other in zip(driven, random, strict=True)]) > 25.0

    batch = driven[0].obs[:5]
    assert agent.act(batch).shape == (5, 2)
    assert np.array_equal(agent.act(batch)[2], agent.act(batch[2]))
    AGENTS["scripted"].factory(TASK, env, ScriptedConfig(lateral_s=9.0), 0).save(tmp_path / "policy.pt")
    agent.load(tmp_path / "policy.pt")
    assert agent.config == ScriptedConfig(lateral_s=9.0)


def test_scripted_learns_nothing_but_spends_its_budget():
    clock = SimpleNamespace(n_steps=0, running=True, checkpoint=lambda: None)

    def tick(steps: int) -> None:
        clock.n_steps += steps
        clock.running = clock.n_steps < 160  # one episode and a bit

    clock.tick = tick
    SCRIPTED.learn(make(), clock)
    assert clock.n_steps == 160


def test_scripted_refuses_other_tasks():
    refuses = AGENTS["scripted"].refuses
    assert refuses(TASK) is None
    assert refuses(SimpleNamespace(name="oracle/pendulum")) == "scripted drives highway/lane-change only"
