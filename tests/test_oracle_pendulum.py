"""The pendulum's stored grid against the plant of control/pendulum, and against a grid solved anew."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tasks.control import PendulumEnv
from tasks.oracle.pendulum import KEEP, NODES, STORED, Pendulum, optimal_value, solve


def observe(state: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(state[:, 0]), np.sin(state[:, 0]), state[:, 1]], -1)


def test_equations_are_the_plants() -> None:
    equations, env, rng = Pendulum(), PendulumEnv(dt=0.0125), np.random.default_rng(0)
    env.reset(seed=0)
    for angle, speed, torque in rng.uniform([-3, -7, -2], [3, 7, 2], (20, 3)):
        env._angle, env._speed = angle, speed
        _, reward, *_ = env.step(np.array([torque / env.MAX_TORQUE]))
        middle = torch.tensor([[(angle + env._angle) / 2, (speed + env._speed) / 2]])
        control = torch.tensor([[torque]])
        moved = 0.0125 * equations.drift(middle, control)[0]
        assert moved.tolist() == pytest.approx([env._angle - angle, env._speed - speed], abs=2e-3)
        assert reward == pytest.approx(0.0125 * equations.reward_rate(middle, control).item(), abs=5e-3)


def test_value_is_that_of_the_best_decision_and_what_follows() -> None:
    """max_u { r + 0.99 V(next) } = V for decisions of 0.05 s in the plant itself, from where episodes start."""
    env, rng = PendulumEnv(), np.random.default_rng(0)
    env.reset(seed=0)
    starts = rng.uniform([-math.pi, -1], [math.pi, 1], (60, 2))
    best = []
    for start in starts:
        gains = []
        for action in np.linspace(-1, 1, 9):
            env._angle, env._speed = start
            obs, reward, *_ = env.step(np.array([action]))
            gains.append(reward + 0.99 * optimal_value(obs[None])[0])
        best.append(max(gains))
    exact = optimal_value(observe(starts))
    assert np.linalg.norm(best - exact) < 0.01 * np.linalg.norm(exact)


def test_coarser_grids_near_the_stored_one() -> None:
    stored, errors = np.load(STORED), []
    assert len(stored) == (NODES - 1) // KEEP + 1 == 121
    for nodes in (41, 61):
        every = 120 // (nodes - 1)
        same, central = stored[::every, ::every], slice(nodes // 4, -(nodes // 4))  # speeds up to 4 rad/s
        errors.append(np.linalg.norm((solve(nodes) - same)[:, central]) / np.linalg.norm(same[:, central]))
    assert errors[1] < 0.9 * errors[0] < 0.1  # slow at the steep edge where one more swing begins to pay
