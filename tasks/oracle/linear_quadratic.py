"""Linear plants with quadratic rewards: coupled oscillators, and chains of any dimension."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from scipy import linalg
from torch import Tensor

from hjbbench.equations import Equations
from hjbbench.protocol import Reference, Task
from hjbbench.registry import add_task
from tasks.oracle.environment import at_least, n_decisions, no_picture

DT0_S = 0.05
HORIZON_S = 5.0
DISCOUNT_RATE = 0.2
"""1/s: a 5 s horizon (0.99 per decision), several times the closed loop's settling time of about 1 s."""


@dataclass(frozen=True)
class LinearQuadratic:
    """dx = (A x + B u) dt + S dW with reward rate -(x'Qx + u'Ru), discounted at rho.

    Its HJB equation has the solution V*(x) = -(x'Px + tr(S'PS)/rho), u* = -R^-1 B'P x, with P from the algebraic
    Riccati equation of (A - rho/2 I, B, Q, R) (Anderson and Moore, Optimal Control, 1990, section 3.5).
    """

    drift: np.ndarray
    """A, (n, n) in 1/s."""
    control: np.ndarray
    """B, (n, m)."""
    noise: np.ndarray
    """S, (n, n), state per square root of a second."""
    state_cost: np.ndarray
    """Q, (n, n), reward per second."""
    control_cost: np.ndarray
    """R, (m, m), reward per second."""
    discount_rate: float

    @cached_property
    def riccati(self) -> np.ndarray:
        """P, (n, n)."""
        shifted = self.drift - self.discount_rate / 2 * np.eye(len(self.drift))
        return linalg.solve_continuous_are(shifted, self.control, self.state_cost, self.control_cost)

    @cached_property
    def gain(self) -> np.ndarray:
        """K of the optimal u = -K x, (m, n)."""
        return np.linalg.solve(self.control_cost, self.control.T @ self.riccati)

    def optimal_value(self, state: np.ndarray) -> np.ndarray:
        """V* for states (k, n), in reward units."""
        noise_cost = np.trace(self.noise.T @ self.riccati @ self.noise) / self.discount_rate
        return -(np.einsum("ki,ij,kj->k", state, self.riccati, state) + noise_cost)

    def sample(self, dt: float) -> SampledLinearQuadratic:
        """The same plant with the control held for ``dt`` seconds, without discretisation error.

        Van Loan (IEEE TAC 23, 1978): one matrix exponential gives an integral of two others.
        """
        n, m = self.control.shape
        # z = (x, u) with u held: dz = F z dt. The reward of an interval is discounted within it, so that a sum of
        # exp(-rho dt k) times rewards is the continuous-time value of the held control.
        flow = np.block([[self.drift, self.control], [np.zeros((m, n + m))]])
        weight = linalg.block_diag(self.state_cost, self.control_cost)
        discounted = flow - self.discount_rate / 2 * np.eye(n + m)
        block = linalg.expm(np.block([[-discounted.T, weight], [np.zeros((n + m, n + m)), discounted]]) * dt)
        cost = block[n + m :, n + m :].T @ block[: n + m, n + m :]
        transition = linalg.expm(flow * dt)[:n]
        covariance = self._covariance(dt)
        # Noise that enters within the interval adds a constant to its expected cost: the integral over s of
        # exp(-rho s) tr(Q Cov(s)), by Gauss-Legendre, exact to rounding for so smooth an integrand.
        nodes, weights = np.polynomial.legendre.leggauss(6)
        times = (nodes + 1) * dt / 2
        noise_cost = sum(
            w * dt / 2 * np.exp(-self.discount_rate * s) * np.trace(self.state_cost @ self._covariance(s))
            for w, s in zip(weights, times, strict=True)
        )
        root = linalg.cholesky(covariance + 1e-300 * np.eye(n), lower=True) if self.noise.any() else np.zeros((n, n))
        return SampledLinearQuadratic(transition, root, cost, float(noise_cost))

    def _covariance(self, elapsed_s: float) -> np.ndarray:
        n = len(self.drift)
        block = np.block([[-self.drift, self.noise @ self.noise.T], [np.zeros((n, n)), self.drift.T]])
        block = linalg.expm(block * elapsed_s)
        return block[n:, n:].T @ block[:n, n:]


@dataclass(frozen=True)
class SampledLinearQuadratic:
    """x' = transition (x, u) + root e with e standard normal; expected reward -((x, u)' cost (x, u) + noise_cost)."""

    transition: np.ndarray
    root: np.ndarray
    cost: np.ndarray
    noise_cost: float

    def step(self, state: np.ndarray, control: np.ndarray, unit_noise: np.ndarray) -> tuple[np.ndarray, float]:
        """The next state (n,) and the reward of one interval."""
        both = np.concatenate([state, control])
        return self.transition @ both + self.root @ unit_noise, -float(both @ self.cost @ both + self.noise_cost)


def oscillator_problem(noise: float) -> LinearQuadratic:
    """Two damped oscillators coupled through their cost, each with its own force (after VIP, arXiv 2509.09135).

    x_i'' = -k x_i - b x_i' + u_i with k = 1, b = 0.5; cost rate x_1^2 + x_2^2 + 2 (x_1 - x_2)^2 + 0.1 |u|^2, counted
    per 0.05 s so that one decision's reward is of order one. ``noise``: velocity per square root of a second.
    """
    one = np.array([[0.0, 1.0], [-1.0, -0.5]])
    apart = np.array([1.0, 0.0, -1.0, 0.0])
    return LinearQuadratic(
        drift=linalg.block_diag(one, one),
        control=np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]),
        noise=np.diag([0.0, noise, 0.0, noise]),
        state_cost=(np.diag([1.0, 0.0, 1.0, 0.0]) + 2 * np.outer(apart, apart)) / DT0_S,
        control_cost=0.1 * np.eye(2) / DT0_S,
        discount_rate=DISCOUNT_RATE,
    )


def chain_problem(dim: int) -> LinearQuadratic:
    """A chain in which each component pushes the next: dx_i = (-0.2 x_i + 0.4 x_{i-1} + u_i) dt + 0.2 dW_i.

    Cost rate |x|^2 + 0.1 |u|^2.
    """
    n = at_least(dim, 1, "lqr")
    return LinearQuadratic(
        drift=-0.2 * np.eye(n) + 0.4 * np.eye(n, k=-1),
        control=np.eye(n),
        noise=0.2 * np.eye(n),
        state_cost=np.eye(n),
        control_cost=0.1 * np.eye(n),
        discount_rate=DISCOUNT_RATE,
    )


class LinearQuadraticEquations(Equations):
    """The same problem for solvers; V is sought in the box |x_i| <= ``reach``_i. The noise matrix must be diagonal."""

    ends = False

    def __init__(self, problem: LinearQuadratic, reach: np.ndarray, control_bound: float) -> None:
        self.state_dim, self.control_dim = problem.control.shape
        self.discount_rate, self.control_bound, self.extent = problem.discount_rate, control_bound, float(max(reach))
        self._problem, self._reach = problem, torch.as_tensor(reach, dtype=torch.float32)

    def _matrix(self, name: str, like: Tensor) -> Tensor:
        return torch.as_tensor(getattr(self._problem, name), dtype=like.dtype)

    def drift(self, state: Tensor, control: Tensor) -> Tensor:
        return state @ self._matrix("drift", state).T + control @ self._matrix("control", state).T

    def scale(self, state: Tensor, control: Tensor) -> Tensor:
        return self._matrix("noise", state).diagonal().expand_as(state)

    def reward_rate(self, state: Tensor, control: Tensor) -> Tensor:
        of_state = ((state @ self._matrix("state_cost", state)) * state).sum(-1)
        return -of_state - ((control @ self._matrix("control_cost", state)) * control).sum(-1)

    def best_control(self, state: Tensor, gradient: Tensor) -> Tensor:
        slope = gradient @ self._matrix("control", state)
        return 0.5 * slope @ torch.linalg.inv(self._matrix("control_cost", state))

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        return self._reach * (2 * torch.rand(n, self.state_dim, generator=rng) - 1)

    def value(self, state: Tensor) -> Tensor:
        return torch.as_tensor(self._problem.optimal_value(state.detach().double().numpy()))

    def gradient(self, state: Tensor) -> Tensor:
        return -2 * state.double() @ torch.as_tensor(self._problem.riccati)


class LinearQuadraticEnv(gym.Env):
    """Starts with the components ``moved`` uniform in [-1, 1] and the others at 0; an action of 1 is ``bound``.

    The bound is more than the optimal feedback needs from these starts, so it does not change V* there.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  gymnasium's own convention

    def __init__(
        self, name: str, problem: LinearQuadratic, moved: tuple[int, ...], bound: float,
        dt: float | None = None, render_mode: str | None = None,
    ) -> None:  # fmt: skip
        self.dt = DT0_S if dt is None else dt
        self.render_mode = None
        no_picture(name, render_mode)
        self._n_steps = n_decisions(name, self.dt, HORIZON_S)
        self._plant, self._moved, self._bound = problem.sample(self.dt), list(moved), bound
        self._size, n_controls = problem.control.shape
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (self._size,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (n_controls,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._state = np.zeros(self._size)
        self._state[self._moved] = self.np_random.uniform(-1, 1, size=len(self._moved))
        self._elapsed = 0
        return self._state.astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        control = self._bound * np.asarray(action, dtype=float).clip(-1, 1)
        self._state, reward = self._plant.step(self._state, control, self.np_random.standard_normal((self._size,)))
        self._elapsed += 1
        return self._state.astype(np.float32), reward, False, self._elapsed >= self._n_steps, {}


OSCILLATOR_FORCE = 6.0
"""The oscillators' optimal feedback needs at most 5.8."""
CHAIN_CONTROL = 4.0
"""The chains' needs at most 3."""
OSCILLATOR_PROVENANCE = (
    "'random' is the passive plant (zero force), which the exactly known optimum beats by a factor of two only, where "
    "uniformly random forces (-497, noisy -510) would make every policy look solved; reference: the exact optimal "
    "feedback held for 0.05 s; both are means of 1000 episodes"
)
CHAIN_PROVENANCE = (
    "'random' is the passive plant (zero control); reference: the exact optimal feedback held for 0.05 s; "
    "both are means of 1000 episodes"
)


def _add(
    name: str, problem: LinearQuadratic, moved: tuple[int, ...], reach: np.ndarray, bound: float,
    reference: Reference, targets: tuple[float, ...],
) -> None:  # fmt: skip
    add_task(
        Task(
            name=name,
            make=partial(LinearQuadraticEnv, name, problem, moved, bound),
            dt=DT0_S,
            horizon_s=HORIZON_S,
            discount_rate=DISCOUNT_RATE,
            targets=targets,
            reference=reference,
            # Along the episodes, holding the control for 0.05 s costs 0.1 % of this continuous-time value on the
            # oscillator, 2 % on the noisy one and 6.4 % on the chains, in proportion to the interval.
            optimal_value=problem.optimal_value,
            equations=LinearQuadraticEquations(problem, reach, bound),
        )
    )


def _add_oscillator(name: str, noise: float, random: float, reference: float, targets: tuple[float, ...]) -> None:
    anchors = Reference(random, reference, OSCILLATOR_PROVENANCE)
    reach = np.array([1.0, 2.0, 1.0, 2.0])  # speeds reach 2
    _add(f"oracle/{name}", oscillator_problem(noise), (0, 2), reach, OSCILLATOR_FORCE, anchors, targets)


def _add_chain(dim: int, random: float, reference: float, targets: tuple[float, ...]) -> None:
    anchors = Reference(random, reference, CHAIN_PROVENANCE)
    moved = tuple(range(dim))
    _add(f"oracle/lqr-d{dim}", chain_problem(dim), moved, np.ones(dim), CHAIN_CONTROL, anchors, targets)


# Targets: costs of 1.5, 1.1 and 1.02 times the optimum.
_add_oscillator("oscillator", 0.0, -43.6, -19.75, (-29.6, -21.7, -20.1))
_add_oscillator("oscillator-noisy", 0.2, -56.9, -21.60, (-32.4, -23.8, -22.0))
_add_chain(2, -2.64, -0.3149, (-0.4724, -0.3464, -0.3212))
_add_chain(3, -4.33, -0.483, (-0.7245, -0.5313, -0.4927))
_add_chain(4, -6.39, -0.649, (-0.9735, -0.7139, -0.662))
_add_chain(8, -14.94, -1.291, (-1.936, -1.42, -1.317))
