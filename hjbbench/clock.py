"""The clock of one run: it counts the costs, calls for evaluations and says when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def evaluation_points(n_steps: int, n_evals: int, exponent: float = 1.5) -> tuple[int, ...]:
    """Step counts at which every agent of a suite is evaluated: denser early, the last one at the end of the budget."""
    fractions = (np.arange(1, n_evals + 1) / n_evals) ** exponent
    return tuple(np.unique(np.ceil(fractions * n_steps).astype(int)).tolist())


class RunClock:
    """The harness's side of ``protocol.Clock``.

    ``evaluate(clock)`` is called at each of the ``points`` and ``save()`` wherever the agent may be saved, both with
    the wall clock stopped; ``record`` takes diagnostics.
    """

    COSTS = ("n_steps", "n_updates", "t_wall_s", "t_eval_s", "t_checkpoint_s")

    def __init__(
        self,
        budget_steps: int,
        points: tuple[int, ...],
        evaluate: Callable[[RunClock], None],
        record: Callable[[dict[str, float]], None],
        dt: float,
        save: Callable[[], None] = lambda: None,
    ) -> None:
        self.budget_steps = budget_steps
        self.dt = dt
        self.n_steps = 0
        self.n_updates = 0
        self.t_eval_s = 0.0
        self.t_checkpoint_s = 0.0
        self._due = list(points)
        self._evaluate = evaluate
        self._record = record
        self._save = save
        self._worked_s = 0.0
        self._resumed_at = time.perf_counter()

    @property
    def running(self) -> bool:
        return self.n_steps < self.budget_steps

    @property
    def t_env_s(self) -> float:
        """Simulated seconds of training experience."""
        return self.n_steps * self.dt

    @property
    def t_wall_s(self) -> float:
        """Wall-clock seconds of training, evaluation excluded."""
        return self._worked_s + time.perf_counter() - self._resumed_at

    def tick(self, steps: int = 0, updates: int = 0) -> bool:
        """Count one decision at most and any number of updates; evaluate when one is due.

        Raises ValueError when more than one decision is reported at once: all agents are evaluated at the same counts.
        """
        if steps not in (0, 1) or updates < 0:
            raise ValueError(f"tick(steps={steps}, updates={updates}): steps is 0 or 1, updates at least 0")
        self.n_steps += steps
        self.n_updates += updates
        if self._due and self.n_steps >= self._due[0]:
            self._due.pop(0)
            self.t_eval_s += self._aside(lambda: self._evaluate(self))
        return self.running

    def checkpoint(self) -> None:
        if self.running:
            self.t_checkpoint_s += self._aside(self._save)

    def _aside(self, work: Callable[[], None]) -> float:
        """Do what is not training; returns the seconds it took, which ``t_wall_s`` does not count."""
        began = time.perf_counter()
        self._worked_s += began - self._resumed_at
        self._resumed_at = began
        work()
        self._resumed_at = time.perf_counter()
        return self._resumed_at - began

    def record(self, values: Mapping[str, float]) -> None:
        self._record({"n_steps": self.n_steps, **{name: float(value) for name, value in values.items()}})

    @property
    def spent_s(self) -> float:
        """Wall-clock seconds of the whole run so far."""
        return self.t_wall_s + self.t_eval_s + self.t_checkpoint_s

    def costs(self) -> dict[str, float]:
        """What the run has cost so far, for ``resume``."""
        return {name: getattr(self, name) for name in self.COSTS}

    def resume(self, costs: Mapping[str, Any]) -> None:
        """Go on from the costs of a checkpoint; what is due is what lies behind its step count."""
        self.n_steps, self.n_updates = costs["n_steps"], costs["n_updates"]
        self.t_eval_s, self.t_checkpoint_s = costs["t_eval_s"], costs["t_checkpoint_s"]
        self._due = [point for point in self._due if point > self.n_steps]
        self._worked_s, self._resumed_at = costs["t_wall_s"], time.perf_counter()
