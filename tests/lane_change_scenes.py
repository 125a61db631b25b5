"""Episodes and hand-made scenes for the tests of the lane change."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import gymnasium as gym
import numpy as np

from tasks.highway.drivers import Driver

Policy = Callable[[np.ndarray], np.ndarray]


def rollout(env: gym.Env, policy: Policy, seed: int) -> SimpleNamespace:
    """One episode: observations (n + 1, obs_dim), rewards (n,), how it ended, and its figures."""
    obs, _ = env.reset(seed=seed)
    seen, rewards, done = [obs], [], False
    while not done:
        obs, reward, over, late, info = env.step(policy(obs))
        seen.append(obs)
        rewards.append(reward)
        done = over or late
    return SimpleNamespace(obs=np.array(seen), rewards=np.array(rewards), over=over, metrics=info["episode_metrics"])


def random_policy(seed: int, scale: float = 1.0) -> Policy:
    """Uniformly random actions in [-scale, scale]."""
    rng = np.random.default_rng(seed)
    return lambda obs: rng.uniform(-scale, scale, 2)


def scene(env: gym.Env, ego: tuple[float, float, float], cars: list[tuple[int, float, float, float, str]]) -> list:
    """Replace the scene: the ego's (x, y, speed), and (lane, x, speed, target speed, intent) of every car."""
    plant = env.unwrapped
    plant.vehicle.position[:], plant.vehicle.speed = ego[:2], ego[2]
    plant.vehicle.on_state_update()
    plant.road.vehicles[1:] = []
    for lane, x, speed, target_speed, intent in cars:
        car = Driver(plant.road, [x, 4.0 * lane], speed=speed, target_speed=target_speed)
        car.ego, car.intent, car.check_collisions = plant.vehicle, intent, False
        plant.road.vehicles.append(car)
    return plant.road.vehicles[1:]
