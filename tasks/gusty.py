"""Robots in gusty wind: the same plants as stochastic differential equations with jumps."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any, cast

import gymnasium as gym
import numpy as np

from hjbbench.protocol import Reference
from hjbbench.registry import TASKS, add_task
from tasks.locomotion import ROBOTS, Robot, make

SEED_STREAM = 1  # keeps the noise independent of the environment's own generator, which is seeded with the same number


class Gusts(gym.Wrapper):
    """Turns a MuJoCo environment into the jump diffusion M(q) dv = f(q, v, u) dt + M(q) (S dW + e_x J dN).

    Every generalised velocity gets a Brownian motion of strength S, and N is a Poisson process whose jumps shove the
    whole body along x by a speed J of random sign. Both enter as generalised forces of one physics step, so contacts
    and joint limits resist them, and the noise acts in physical time: it does not know how often decisions are made.

    Args:
        env: a wrapped MujocoEnv whose first degree of freedom slides along x, in m/s.
        diffusion: S, in m/s or rad/s per square root of a second.
        push_rate: pushes per second.
        push_speed: J, in m/s.
    """

    def __init__(self, env: gym.Env, diffusion: float, push_rate: float, push_speed: float) -> None:
        super().__init__(env)
        self.diffusion, self.push_rate, self.push_speed = diffusion, push_rate, push_speed
        self._plant = cast(Any, env.unwrapped)
        self._plant._step_mujoco_simulation = self._simulate
        self._rng = np.random.default_rng()
        self._until_push_s = self._waiting_time_s()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment; a seed determines the episode's noise as well as its start."""
        if seed is not None:
            self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SEED_STREAM,)))
        self._until_push_s = self._waiting_time_s()
        return self.env.reset(seed=seed, options=options)

    def velocity_noise(self, duration_s: float) -> np.ndarray:
        """Draw S dW + e_x J dN over the next ``duration_s`` seconds: one change per generalised velocity, (nv,)."""
        noise = self.diffusion * math.sqrt(duration_s) * self._rng.standard_normal(self._plant.model.nv)
        self._until_push_s -= duration_s
        while self._until_push_s <= 0.0:
            noise[0] += self._rng.choice((-self.push_speed, self.push_speed))
            self._until_push_s += self._waiting_time_s()
        return noise

    def _waiting_time_s(self) -> float:
        return self._rng.exponential(1.0 / self.push_rate)

    def _simulate(self, ctrl: np.ndarray, n_frames: int) -> None:
        """Replace MujocoEnv._step_mujoco_simulation: one force per physics step instead of none."""
        import mujoco

        model, data = self._plant.model, self._plant.data
        step_s = model.opt.timestep
        data.ctrl[:] = ctrl
        for _ in range(n_frames):
            # Not xfrc_applied: that one shows up in the contact forces some robots observe and pay for.
            mujoco.mj_mulM(model, data, data.qfrc_applied, self.velocity_noise(step_s) / step_s)
            mujoco.mj_step(model, data)
        data.qfrc_applied[:] = 0.0
        mujoco.mj_rnePostConstraint(model, data)  # as the method replaced: fills in the contact forces


# One wind for all robots, comparable with their speeds of 1 to 10 m/s: in a second the Brownian motion alone moves a
# velocity by 0.5 and a push, one in four seconds, by another 0.5. A linear controller that keeps the calm hopper on its
# foot in every episode still does so in 83 % of 30 episodes (90 % of 20 when found in this wind), and a linear gait of
# the cheetah found in a lighter wind keeps 81 % of its calm return: solvable, and anything but calm.
DIFFUSION = 0.5
PUSH_RATE = 0.25
PUSH_SPEED = 0.5


def make_gusty(robot: Robot, dt: float | None = None, render_mode: str | None = None) -> gym.Env:
    """The robot's environment of ``tasks.locomotion.make`` in gusty wind."""
    return Gusts(make(robot, dt, render_mode), DIFFUSION, PUSH_RATE, PUSH_SPEED)


# Mean return of uniformly random actions over 100 episodes, measured with reset and action seeds 0-99.
RANDOM = {"hopper": 16.4, "half-cheetah": -277.9, "walker2d": 2.7}

for name, random in RANDOM.items():
    calm = TASKS[f"locomotion/{name}"]
    provenance = "random: 100 episodes of uniform actions, seeds 0-99; reference and targets: those of the calm task"
    add_task(
        replace(
            calm,
            name=f"{calm.name}-gusty",
            make=partial(make_gusty, ROBOTS[name]),
            reference=Reference(random, calm.reference.reference, provenance),
        )
    )
