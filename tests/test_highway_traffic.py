"""The traffic of the lane change: highway-env's dynamics to rounding, drivers that react and hide what they want."""

from __future__ import annotations

import numpy as np
import pytest
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle

from baselines.scripted import Scripted, ScriptedConfig
from hjbbench.registry import TASKS
from tasks.highway.drivers import BLOCKING, INTENTS, NEUTRAL, YIELDING, Driver, Intent
from tasks.highway.env import FRAME_HZ, N_LANES
from tasks.lane_change import make
from tests.lane_change_scenes import random_policy, scene

SCRIPTED = Scripted(TASKS["highway/lane-change"], None, ScriptedConfig(), seed=0)  # type: ignore[arg-type]


class StockDriver(Intent, IDMVehicle):
    """The traffic on highway-env's own, unaccelerated classes."""

    TIME_WANTED = Driver.TIME_WANTED


def stock_copy(road: Road) -> Road:
    """The same scene made of unmodified highway-env roads and vehicles."""
    stock = Road(RoadNetwork.straight_road_network(N_LANES, speed_limit=30), np_random=road.np_random)
    ego = Vehicle(stock, road.vehicles[0].position, speed=road.vehicles[0].speed)
    ego.target_speed, ego.MIN_SPEED = 30.0, 0.0
    stock.vehicles = [ego]
    for car in road.vehicles[1:]:
        twin = StockDriver(stock, car.position, speed=car.speed, target_speed=car.target_speed)
        twin.ego, twin.intent, twin.check_collisions = ego, car.intent, False
        stock.vehicles.append(twin)
    return stock


def motion(road: Road) -> np.ndarray:
    return np.array([(*v.position, v.heading, v.speed, v.crashed) for v in road.vehicles])


@pytest.mark.parametrize("policy", ["scripted", "random", "crash"])
def test_accelerated_plant_follows_highway_env(policy):
    env, lane_changes, ends = make(), 0, []
    for seed in range(3):
        obs, _ = env.reset(seed=seed)
        plant, stock = env.unwrapped, stock_copy(env.unwrapped.road)
        act = {"scripted": SCRIPTED.act, "random": random_policy(seed, 0.3), "crash": lambda obs: np.array([1.0, 0.0])}
        done = False
        while not done:
            action = act[policy](obs)
            frames = plant.steps
            stock.vehicles[0].act(plant.action_type.get_action(action))
            obs, _, over, late, _ = env.step(action)
            for _ in range(plant.steps - frames):
                stock.act()
                stock.step(1 / FRAME_HZ)
            np.testing.assert_allclose(motion(plant.road), motion(stock), atol=1e-9, rtol=0.0)
            lane_changes += sum(car.lane_index != car.target_lane_index for car in plant.road.vehicles[1:])
            done = over or late
        ends.append(plant.vehicle.crashed)
    assert lane_changes > 0
    assert any(ends) or policy != "crash"


def test_traffic_brakes_for_the_ego_once_it_is_near_the_lane():
    braking = {}
    for y in (0.0, 2.5):
        env = make()
        env.reset(seed=0)
        (car,) = scene(env, (500.0, y, 24.0), [(1, 480.0, 25.0, 28.0, NEUTRAL)])
        env.step(np.zeros(2))
        braking[y] = car.action["acceleration"]
    assert braking[0.0] > 0.0 > -1.0 > braking[2.5]


@pytest.mark.parametrize("target_speed", [True, False])
def test_traffic_cuts_in_front_of_an_ego_that_has_a_target_speed(target_speed):
    env = make()
    env.reset(seed=0)
    cars = scene(env, (500.0, 4.0, 22.0), [(2, 560.0, 22.0, 28.0, NEUTRAL), (2, 590.0, 18.0, 18.0, NEUTRAL)])
    if not target_speed:  # highway-env's default for a vehicle under continuous control
        del env.unwrapped.vehicle.target_speed
    for _ in range(30):
        env.step(np.zeros(2))
    assert (cars[0].target_lane_index[2] == 1) == target_speed


def test_hidden_intents_split_the_future_of_one_and_the_same_scene():
    gap, first = {}, {}
    for intent in INTENTS:
        env = make()
        env.reset(seed=0)
        env.unwrapped.target_lane = 1
        (car,) = scene(env, (500.0, 0.8, 24.0), [(1, 480.0, 24.0, 26.0, intent)])
        first[intent] = env.unwrapped.observe()
        for _ in range(20):
            env.step(np.zeros(2))
        gap[intent] = env.unwrapped.vehicle.position[0] - car.position[0]
    assert np.array_equal(first[YIELDING], first[NEUTRAL])
    assert np.array_equal(first[BLOCKING], first[NEUTRAL])
    assert gap[YIELDING] > gap[NEUTRAL] + 2.0 > gap[BLOCKING] + 4.0


def test_intent_response_is_continuous_and_silent_in_the_lane_centre():
    env = make()
    env.reset(seed=0)
    (car,) = scene(env, (500.0, 0.0, 24.0), [(1, 470.0, 24.0, 26.0, YIELDING)])
    drifts = np.linspace(0.0, 1.9, 200)
    responses = []
    for drift in drifts:
        env.unwrapped.vehicle.position[1] = drift
        responses.append(car.response())
    assert responses[0] == 0.0
    assert responses[-1] == 1.0
    assert np.abs(np.diff(responses)).max() < 0.03
