"""The three contracts: a Task to solve, an Agent that learns, a Clock that says how long."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium as gym
import numpy as np

if TYPE_CHECKING:
    from hjbbench.equations import Equations


@dataclass(frozen=True)
class Reference:
    """Frozen anchors of a task: a return R becomes the score (R - random) / (reference - random)."""

    random: float
    reference: float
    provenance: str

    def score(self, episode_return: float) -> float:
        """Normalised score of a return: 0 is the random policy, 1 the reference."""
        return (episode_return - self.random) / (self.reference - self.random)


@dataclass(frozen=True)
class Task:
    """A control problem in continuous time, sampled every ``dt`` seconds."""

    name: str
    """Family and name, "locomotion/hopper"."""
    make: Callable[..., gym.Env]
    """``make(dt: float | None = None, render_mode: str | None = None)``; actions are scaled to [-1, 1], observations
    are flat boxes. Raises UserError for a dt the plant cannot be sampled at."""
    dt: float
    """Seconds of simulated time per decision at the task's own rate."""
    horizon_s: float
    """An episode's length in simulated seconds."""
    discount_rate: float
    """rho in 1/s; the discount per decision is exp(-rho dt)."""
    targets: tuple[float, ...]
    """Returns that count as converged, easiest first."""
    reference: Reference
    terminated: Callable[[Any, Any, Any], Any] | None = None
    """The known termination rule ``(obs, action, next_obs) -> bool`` over the last axis, for numpy arrays and torch
    tensors alike. None: an episode ends by its horizon alone."""
    optimal_value: Callable[[np.ndarray], np.ndarray] | None = None
    """V*(obs) for observations (n, obs_dim), where a closed form or a fine grid gives it."""
    equations: Equations | None = None
    """The known equations, where a task gives them: for solvers, never for a learner."""
    metrics: tuple[str, ...] = ()
    """Names of the task's own figures per episode, found in ``info["episode_metrics"]`` of an episode's last step;
    their means are columns of evals.csv. "success" also fills success_rate."""
    version: int = 1
    """Raised by every change that makes old returns incomparable."""

    @property
    def own_columns(self) -> tuple[str, ...]:
        """Columns of evals.csv beyond those of every task: ``metrics``, and what optimal control earns more."""
        return (*self.metrics, "regret_rel") if self.equations is not None else self.metrics

    @property
    def family(self) -> str:
        return self.name.split("/")[0]

    @property
    def discount(self) -> float:
        """Discount factor of one decision, exp(-rho dt)."""
        return math.exp(-self.discount_rate * self.dt)


class Clock(Protocol):
    """What an agent sees of the harness: may I go on, and how far am I?"""

    @property
    def running(self) -> bool:
        """False once the budget is spent."""
        ...

    @property
    def n_steps(self) -> int:
        """Decisions taken so far in the training environment."""
        ...

    @property
    def budget_steps(self) -> int:
        """Decisions the run may take in all."""
        ...

    def tick(self, steps: int = 0, updates: int = 0) -> bool:
        """Count decisions and gradient steps, evaluate when one is due, and say whether to go on."""
        ...

    def record(self, values: Mapping[str, float]) -> None:
        """Write one row of the run's diagnostics.csv, stamped with the decisions counted so far.

        An agent that records before it ticks is one behind: 999 for what it knows after 1000.
        """
        ...

    def checkpoint(self) -> None:
        """Say that the run may be saved here, which the harness does every few minutes.

        To be called between two episodes, before or right after ``env.reset()``, when everything the agent has learned
        is in its attributes. A killed run goes on from here: a new agent, ``load``, ``learn``. An agent that never
        calls it starts over.
        """
        ...


class Agent(Protocol):
    """A learner. It is built as ``factory(task, env, config, seed)``: the task at the run's dt, an environment that
    shows the spaces, its frozen config dataclass, and the seed of everything random in it.

    An agent may also have ``value(obs) -> np.ndarray``: its estimate of V for observations (n, obs_dim).
    """

    def learn(self, env: gym.Env, clock: Clock) -> None:
        """Train in ``env`` while ``clock.running``, calling ``clock.tick(steps=1, updates=n)`` after every step.

        It begins with ``env.reset()``, also in an agent that was loaded to go on from a checkpoint.
        """
        ...

    def act(self, obs: np.ndarray, *, deterministic: bool = True) -> np.ndarray:
        """Actions in [-1, 1] for one observation (obs_dim,) or a batch (n, obs_dim), of the same leading shape."""
        ...

    def save(self, path: Path) -> None:
        """Write the whole state to one file that ``torch.load(weights_only=True)`` can read.

        Networks, optimisers, buffers, generators of its own: what follows a ``load`` is what would have followed
        without it. The global generators of torch, numpy and random are the harness's to keep.
        """
        ...

    def load(self, path: Path) -> None:
        """Restore what ``save`` wrote."""
        ...
