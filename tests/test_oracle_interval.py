"""The exact value is within a learner's reach: what holding the control for a decision costs is small."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from scipy import linalg

from hjbbench.planning import load_suite, plan
from hjbbench.registry import get_task
from tasks.oracle.linear_quadratic import LinearQuadratic, LinearQuadraticEquations, oscillator_problem
from tests.test_oracle_oscillator import CORNERS

INTERVALS = {spec.task: spec.resolve()[0].dt for spec in plan(load_suite("oracle-learned"))[0]}
LINEAR = [name for name in INTERVALS if isinstance(get_task(name).equations, LinearQuadraticEquations)]


class Held(NamedTuple):
    """The best that a held control can do: value -(x' weight x + constant) with u = -gain x."""

    weight: np.ndarray
    constant: float
    gain: np.ndarray

    def value(self, state: np.ndarray) -> np.ndarray:
        return -(np.einsum("ki,ij,kj->k", state, self.weight, state) + self.constant)


def best_held(problem: LinearQuadratic, dt: float) -> Held:
    """The best sampled-data feedback, by the discrete Riccati equation."""
    plant, n, discount = problem.sample(dt), len(problem.drift), math.exp(-problem.discount_rate * dt)
    a, b = plant.transition[:, :n], plant.transition[:, n:]
    q, r, s = plant.cost[:n, :n], plant.cost[n:, n:], plant.cost[:n, n:]
    p = linalg.solve_discrete_are(math.sqrt(discount) * a, math.sqrt(discount) * b, q, r, s=s)
    constant = (plant.noise_cost + discount * np.trace(plant.root.T @ p @ plant.root)) / (1 - discount)
    gain = np.linalg.solve(r + discount * b.T @ p @ b, discount * b.T @ p @ a + s.T)
    return Held(p, float(constant), gain)


def cost_of_holding(name: str, dt: float) -> float:
    """Relative L2 distance of V* from the best value with the control held for ``dt`` seconds, along the episodes."""
    problem = get_task(name).equations._problem
    plant, best = problem.sample(dt), best_held(problem, dt)
    rng, visited = np.random.default_rng(0), []
    for episode in range(10):
        state = get_task(name).make().reset(seed=episode)[0].astype(float)
        for _ in range(round(5.0 / dt)):
            visited.append(state)
            state, _ = plant.step(state, -best.gain @ state, rng.normal(size=len(state)))
    states = np.array(visited)
    held, exact = best.value(states), problem.optimal_value(states)
    assert (held < exact + 1e-9).all()  # holding can only lose
    return float(np.linalg.norm(held - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize("name", LINEAR)
def test_holding_the_control_costs_less_than_learning_may(name):
    """The learners' limit is 5 %; on the chains, whose value is mostly noise, 0.05 s would cost 6.4 % of it."""
    assert cost_of_holding(name, INTERVALS[name]) < 0.03


def test_the_cost_of_holding_vanishes_with_the_interval():
    assert cost_of_holding("oracle/lqr-d2", 0.05) > 0.06
    assert cost_of_holding("oracle/lqr-d2", 0.01) == pytest.approx(cost_of_holding("oracle/lqr-d2", 0.02) / 2, rel=0.1)


@pytest.mark.parametrize(("noise", "bound"), [(0.0, 0.003), (0.2, 0.02)])
def test_holding_the_control_costs_little(noise, bound):
    """From the oscillators' corners the best sampled-data feedback is within the stated gap of V*."""
    problem = oscillator_problem(noise)
    sampled, exact = best_held(problem, 0.05).value(CORNERS), problem.optimal_value(CORNERS)
    assert (sampled <= exact + 1e-9).all()  # holding can only lose
    assert sampled == pytest.approx(exact, rel=bound)
