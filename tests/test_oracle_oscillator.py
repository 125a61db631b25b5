"""The oscillator's exact solution, against published values, other solvers and simulation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from hjbbench.errors import UserError
from tasks.oracle.linear_quadratic import OSCILLATOR_FORCE, LinearQuadraticEnv, oscillator_problem

CORNERS = np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, -1.0, 0.0]])


def oscillator(**options) -> LinearQuadraticEnv:
    return LinearQuadraticEnv("oracle/oscillator", oscillator_problem(0.0), (0, 2), OSCILLATOR_FORCE, **options)


def test_published_values_of_the_undiscounted_problem():
    published = dataclasses.replace(
        oscillator_problem(0.0),
        state_cost=oscillator_problem(0.0).state_cost * 0.05,  # per second, as published
        control_cost=0.01 * np.eye(2),
        discount_rate=1e-12,
    )
    assert published.optimal_value(CORNERS) == pytest.approx([-0.851005, -2.926055], abs=1e-6)
    discounted = dataclasses.replace(published, discount_rate=-np.log(0.99))
    assert discounted.optimal_value(CORNERS[:1]) == pytest.approx([-0.849114], abs=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_value_solves_the_hjb_equation(noise):
    """rho V = max_u r + (Ax + Bu)'V_x + tr(SS'V_xx)/2 at random states, with the maximum at u = -Kx."""
    problem = oscillator_problem(noise)
    rng = np.random.default_rng(0)
    for state in rng.normal(size=(20, 4)):

        def hamiltonian(control, state=state):
            reward = -(state @ problem.state_cost @ state + control @ problem.control_cost @ control)
            gradient = -2 * problem.riccati @ state
            diffusion = -np.trace(problem.noise @ problem.noise.T @ problem.riccati)
            return reward + (problem.drift @ state + problem.control @ control) @ gradient + diffusion

        best = -problem.gain @ state
        value = problem.optimal_value(state[None])[0]
        assert hamiltonian(best) == pytest.approx(problem.discount_rate * value, rel=1e-9)
        assert all(hamiltonian(best + 0.1 * rng.normal(size=2)) < hamiltonian(best) for _ in range(5))


@pytest.mark.parametrize("dt", [0.05, 0.25])
def test_sampling_is_exact(dt):
    """One interval against an adaptive integrator of state, discounted cost and covariance."""
    problem = oscillator_problem(0.2)
    state, control = np.array([0.7, -0.3, -0.5, 1.0]), np.array([0.8, -2.0])

    def flow(t, y):
        x, p = y[:4], y[4:20].reshape(4, 4)
        cost = np.exp(-problem.discount_rate * t) * (
            x @ problem.state_cost @ x + control @ problem.control_cost @ control + np.trace(problem.state_cost @ p)
        )
        dp = problem.drift @ p + p @ problem.drift.T + problem.noise @ problem.noise.T
        return np.concatenate([problem.drift @ x + problem.control @ control, dp.ravel(), [cost]])

    exact = solve_ivp(flow, (0, dt), np.concatenate([state, np.zeros(17)]), rtol=1e-12, atol=1e-14).y[:, -1]
    plant = problem.sample(dt)
    following, reward = plant.step(state, control, np.zeros(4))
    assert following == pytest.approx(exact[:4], abs=1e-10)
    assert plant.root @ plant.root.T == pytest.approx(exact[4:20].reshape(4, 4), abs=1e-10)
    assert reward == pytest.approx(-exact[20], rel=1e-9)


def test_optimal_feedback_reaches_its_reference_and_beats_neighbours():
    env, gain = oscillator(), oscillator_problem(0.0).gain

    def mean_return(factor: float) -> float:
        total = 0.0
        for episode in range(100):
            state, _ = env.reset(seed=episode)
            over = False
            while not over:
                state, reward, _, over, _ = env.step(-factor * gain @ state / OSCILLATOR_FORCE)
                total += reward
        return total / 100

    best = mean_return(1.0)
    assert best == pytest.approx(-19.75, abs=3)  # 100 of the reference's 1000 episodes
    assert best > mean_return(0.7)
    assert best > mean_return(1.4)


def test_bad_dt_and_pictures_are_refused():
    for dt in (0.0, -0.1, 0.03, 7.0):
        with pytest.raises(UserError, match="dt is"):
            oscillator(dt=dt)
    with pytest.raises(UserError, match="render_mode"):
        oscillator(render_mode="human")
