"""What all solvers share: a round of solving per decision, so that the harness counts and evaluates them as agents."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from hjbbench.equations import Equations
from hjbbench.errors import Diverged, UserError
from hjbbench.greedy import Greedy, Value
from hjbbench.protocol import Clock, Task
from hjbbench.solvers.errors import Yardstick, profile, regret

RECORDS = 20
"""Rows of diagnostics per run."""


@dataclass(frozen=True)
class SolverConfig:
    """What every solver can be told."""

    dt_factor: float = 1.0
    """The solver's time step over the task's dt."""

    def check(self, task: Task) -> None:
        """Raise UserError for a time step too coarse for the task."""
        assert task.equations is not None
        check_step(task.equations, task.dt * self.dt_factor, task.name)


class Solver:
    """A round of ``improve`` per decision; the decisions are those of the greedy policy and teach nothing.

    Subclasses set ``solution`` and define ``improve``, ``state_dict`` and ``load_state_dict``. Every run records its
    distance from the exact solution in diagnostics.csv (``hjbbench.solvers.errors``), with the seconds spent solving.
    """

    solution: Value

    def __init__(self, task: Task, config: SolverConfig, seed: int) -> None:
        assert task.equations is not None
        config.check(task)
        self.task, self.equations = task, task.equations
        self.dt = task.dt * config.dt_factor
        self.rng = torch.Generator().manual_seed(seed % 2**63)
        self._yardstick = Yardstick(self.equations)
        self._solve_s, self._solve_cpu_s, self._memory_mb = 0.0, 0.0, _peak_mb()

    def improve(self, progress: float) -> int:
        """One round of solving, ``progress`` through the budget (0 to 1); returns the number of updates made."""
        raise NotImplementedError

    def resolution(self) -> dict[str, float]:
        """The steps that a finer solution would have smaller: dt in seconds."""
        return {"dt": self.dt}

    def learn(self, env: gym.Env, clock: Clock) -> None:
        """A round of solving and one decision, until the clock stops.

        Measuring the solution counts as training time of the run (t_wall_s), but not as seconds spent solving.
        """
        obs, _ = env.reset()
        every = max(1, clock.budget_steps // RECORDS)
        while clock.running:
            began = time.perf_counter(), time.process_time()
            updates = self.improve(clock.n_steps / clock.budget_steps)
            self._solve_s += time.perf_counter() - began[0]
            self._solve_cpu_s += time.process_time() - began[1]
            round_ = clock.n_steps + 1
            if round_ % every == 0 or round_ == clock.budget_steps:
                clock.record(self._measure(final=round_ == clock.budget_steps))
            obs, _, terminated, truncated, _ = env.step(self.act(obs))
            clock.tick(steps=1, updates=updates)
            if terminated or truncated:
                clock.checkpoint()
                obs, _ = env.reset()

    def _measure(self, final: bool) -> dict[str, float]:
        found: dict[str, float] = {"state_dim": self.equations.state_dim, **self.resolution()}
        found |= {"solve_s": self._solve_s, "solve_cpu_s": self._solve_cpu_s}
        found |= self._yardstick.errors(self.solution)
        if final:
            found["regret_rel"] = regret(self.equations, self.solution, self.dt, self.task.horizon_s)
            found["memory_mb"] = _peak_mb() - self._memory_mb
            found |= profile(self.equations, self.solution)
        if not np.isfinite(list(found.values())).all():
            raise Diverged(f"task {self.task.name!r}: the solution is not finite after {self._solve_s:.1f} s")
        return found

    def act(self, obs: np.ndarray, *, deterministic: bool = True) -> np.ndarray:
        """The greedy control over its bound, for (obs_dim,) or (n, obs_dim)."""
        return Greedy(self.equations, self.dt, self.solution).act(obs)

    def state_dict(self) -> dict[str, Any]:
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise NotImplementedError

    def save(self, path: Path) -> None:
        spent = self._solve_s, self._solve_cpu_s, self._memory_mb
        torch.save({"solution": self.state_dict(), "rng": self.rng.get_state(), "spent": spent}, path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.load_state_dict(state["solution"])
        self.rng.set_state(state["rng"])
        self._solve_s, self._solve_cpu_s, self._memory_mb = state["spent"]


class ValueSolver(Solver):
    """A solver that knows V everywhere."""

    def value(self, obs: np.ndarray) -> np.ndarray:
        """V (n,) for observations (n, obs_dim)."""
        with torch.no_grad():
            return self.solution.value(torch.as_tensor(obs, dtype=torch.float32)).numpy()


def known(task: Task) -> str | None:
    """The reason no solver can run on a task, or None."""
    return None if task.equations is not None else "solvers need a task with known equations"


def when(suits: Callable[[Equations], bool], otherwise: str) -> Callable[[Task], str | None]:
    """A rule of refusal: the equations must be known and suit the solver."""

    def refuses(task: Task) -> str | None:
        return known(task) or (None if task.equations is not None and suits(task.equations) else otherwise)

    return refuses


def check_step(equations: Equations, dt: float, name: str) -> None:
    """Raise UserError for a time step that is none, that could cross the domain, or that outlasts the horizon."""
    if not 0 < dt < math.inf:
        raise UserError(f"{name}: dt is {dt:g} s, must be positive")
    rng = torch.Generator().manual_seed(0)
    if equations.finite_horizon:
        horizon_s = equations.remaining_s(equations.start(1, rng)).item()
        if dt > horizon_s:
            raise UserError(f"{name}: dt is {dt:g} s, must be at most the horizon of {horizon_s:g} s")
        return
    state = equations.sample(256, rng)
    control = equations.control_bound * (2 * torch.rand(256, equations.control_dim, generator=rng) - 1)
    speed = equations.drift(state, control).abs().max().item()
    spread = equations.scale(state, control).abs().max().item()
    reach = dt * speed + dt**0.5 * spread
    if reach > equations.extent:
        raise UserError(
            f"{name}: dt is {dt:g} s, too coarse: a step goes {reach:.2g} in a domain of size {equations.extent:.2g}"
        )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
