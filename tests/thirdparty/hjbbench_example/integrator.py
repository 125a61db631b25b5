"""A task of a third party: hold a drifting integrator at zero."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from hjbbench.errors import UserError
from hjbbench.protocol import Reference, Task
from hjbbench.registry import add_task


class IntegratorEnv(gym.Env):
    """x' = 2 a + noise, reward rate -x^2, ten seconds."""

    def __init__(self, dt: float | None = None, render_mode: str | None = None) -> None:
        self.dt = 0.1 if dt is None else dt
        if not 0 < self.dt <= 10:
            raise UserError(f"example/integrator: dt is {dt}, must be in (0, 10]")
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = self.np_random.uniform(-1, 1), 0.0
        return np.array([self.x], np.float32), {}

    def step(self, action):
        noise = 0.1 * np.sqrt(self.dt) * self.np_random.standard_normal()
        self.x += 2 * float(action[0]) * self.dt + noise
        self.t += self.dt
        return np.array([self.x], np.float32), -self.dt * self.x**2, False, self.t > 10.0 - self.dt / 2, {}


add_task(
    Task(
        name="example/integrator",
        make=IntegratorEnv,
        dt=0.1,
        horizon_s=10.0,
        discount_rate=0.1,
        targets=(-1.0,),
        reference=Reference(-20.0, -0.2, "an example"),
    )
)
