"""How fast the lane change steps, beside highway-env's own fast highway at the same cars and rates."""

from __future__ import annotations

import time

import gymnasium as gym

from tasks import lane_change


def stock_env() -> gym.Env:
    """highway-fast-v0 with its Kinematics observation: ten cars, continuous action, 20 Hz plant, 10 Hz decisions."""
    import highway_env  # noqa: F401  (registers the environment)

    config = {
        "observation": {"type": "Kinematics"},
        "action": {"type": "ContinuousAction", "steering_range": [-0.05, 0.05], "speed_range": [0.0, 40.0]},
        "simulation_frequency": 20,
        "policy_frequency": 10,
        "lanes_count": 3,
        "vehicles_count": 10,
        "offroad_terminal": True,
    }
    return gym.make("highway-fast-v0", config=config)


def steps_per_s(env: gym.Env, seconds: float) -> float:
    """Decisions per second of wall-clock time under random actions, resets included."""
    env.reset(seed=0)
    env.action_space.seed(0)
    n_steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        n_steps += 1
        if terminated or truncated:
            env.reset()
    return n_steps / (time.perf_counter() - start)


def lane_change_rates(seconds: float) -> dict[str, float]:
    """Decisions per second, {"ours", "stock"}, measured in turns over ``seconds`` each so that load hits both alike."""
    envs = {"ours": lane_change.make(), "stock": stock_env()}
    rounds = 4
    rates = dict.fromkeys(envs, 0.0)
    for _ in range(rounds):
        for name, env in envs.items():
            rates[name] += steps_per_s(env, seconds / rounds) / rounds
    return rates
