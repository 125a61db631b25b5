"""Known equations as an ordinary environment, and as a registered task."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from hjbbench.equations import Equations, hold_step
from hjbbench.errors import UserError
from hjbbench.protocol import Reference, Task
from hjbbench.registry import add_task

SUBSTEPS = 4
"""Integration steps per decision at the task's own rate."""
AT_END = 1e-5
"""An observation this near to the boundary or the end of time is on it: observations are single precision."""
PROVENANCE = (
    "random: uniformly random actions; reference: the exact optimal feedback; means of 20000 episodes each (lqg: 1000)"
)
SCORES = (0.5, 0.9, 0.98)
"""Of the targets, between random actions and the exact optimal feedback."""


class DiffusionEnv(gym.Env):
    """Observes the state, acts by control / control_bound, ends where the equations say or after ``horizon_s``.

    Integrated at a fixed step, a quarter of the task's own dt, so that another dt changes the control
    interval and not the plant. Rewards are discounted within a decision: their sum discounted by exp(-rho dt) per
    decision is the value of the held control.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  gymnasium's own convention

    def __init__(
        self, equations: Equations, name: str, dt0: float, horizon_s: float,
        dt: float | None = None, render_mode: str | None = None,
    ) -> None:  # fmt: skip
        self.dt = dt0 if dt is None else dt
        self.render_mode = None
        no_picture(name, render_mode)
        self._equations, self._substep = equations, dt0 / SUBSTEPS
        self._n_steps = n_decisions(name, self.dt, horizon_s, self._substep)
        self._substeps = round(self.dt / self._substep)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (equations.state_dim,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (equations.control_dim,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        rng = torch.Generator().manual_seed(int(self.np_random.integers(2**62)))
        self._state = self._equations.start(1, rng).double()
        self._elapsed = 0
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        control = self._equations.control_bound * torch.as_tensor(np.clip(action, -1, 1), dtype=torch.float64)[None]
        noise = torch.as_tensor(self.np_random.standard_normal((self._substeps, 1, self._state.shape[1] + 1)))
        reward, terminated = 0.0, False
        for k in range(self._substeps):
            self._state, earned, ended, _ = hold_step(self._equations, self._substep, self._state, control, noise[k])
            reward += math.exp(-self._equations.discount_rate * k * self._substep) * earned.item()
            if terminated := bool(ended):
                break
        self._elapsed += 1
        return self._observe(), reward, terminated, not terminated and self._elapsed >= self._n_steps, {}

    def _observe(self) -> np.ndarray:
        return self._state[0].numpy().astype(np.float32)


def n_decisions(name: str, dt: float, horizon_s: float, step: float | None = None) -> int:
    """Decisions per episode; raises UserError for a dt that does not divide it or is no multiple of ``step``."""
    if not (dt > 0 and _whole(horizon_s / dt) and (step is None or _whole(dt / step))):
        multiple = "" if step is None else f"be a multiple of {step:g} and "
        raise UserError(f"{name}: dt is {dt}, must {multiple}divide the episode of {horizon_s:g} s")
    return round(horizon_s / dt)


def _whole(count: float) -> bool:
    return count > 1 - 1e-6 and abs(count - round(count)) < 1e-6


def no_picture(name: str, render_mode: str | None) -> None:
    """Raise UserError if a picture is wanted of a task that has none."""
    if render_mode is not None:
        raise UserError(f"{name}: render_mode is {render_mode!r}; this task has no picture")


def at_least(dim: int, least: int, name: str) -> int:
    """The dimension; raises UserError for one the closed form does not cover."""
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < least:
        raise UserError(f"{name}: dim is {dim!r}, must be a whole number of at least {least}")
    return dim


def add_diffusion(
    name: str, equations: Equations, dt: float, horizon_s: float, random: float, reference: float
) -> Task:
    """Register known equations as the task "oracle/<name>"; the anchors are returns as in ``PROVENANCE``."""
    name = f"oracle/{name}"
    return add_task(
        Task(
            name=name,
            make=partial(DiffusionEnv, equations, name, dt, horizon_s),
            dt=dt,
            horizon_s=horizon_s,
            discount_rate=equations.discount_rate,
            targets=tuple(random + score * (reference - random) for score in SCORES),
            reference=Reference(random, reference, PROVENANCE),
            terminated=partial(_has_ended, equations) if equations.ends else None,
            optimal_value=partial(exact_value, equations),
            equations=equations,
        )
    )


def exact_value(equations: Equations, obs: np.ndarray) -> np.ndarray:
    """V* for observations (n, state_dim)."""
    return equations.value(torch.as_tensor(obs, dtype=torch.float64)).numpy()


def _has_ended(equations: Equations, obs: Any, action: Any, next_obs: Any) -> Any:
    state = torch.as_tensor(next_obs)
    rows = state.reshape(-1, state.shape[-1])
    ended = (equations.margin(rows) <= AT_END) | (equations.remaining_s(rows) <= AT_END)
    ended = ended.view(state.shape[:-1])
    return ended.numpy() if isinstance(next_obs, np.ndarray) else ended
