"""Gymnasium's MuJoCo robots, unchanged at their own rate and sampled at any multiple of their physics step."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import mul
from typing import Any

import gymnasium as gym
import numpy as np

from hjbbench.errors import UserError
from hjbbench.protocol import Reference, Task
from hjbbench.registry import add_task


# The termination rules of gymnasium.envs.mujoco.*_v5, over the last axis of numpy arrays and torch tensors alike.
# A comparison with NaN is false, so each rule is told by what must hold, or not hold, as its environment tells it.
def _finite(x: Any) -> Any:
    return (abs(x) < math.inf).all(-1)


def pendulum_fell(obs: Any, action: Any, next_obs: Any) -> Any:
    """The pole leans more than 0.2 rad."""
    return ~(_finite(next_obs) & (abs(next_obs[..., 1]) <= 0.2))


def double_pendulum_fell(obs: Any, action: Any, next_obs: Any) -> Any:
    """The tip of the two 0.6 m poles is at most 1 m high; they are observed by sine and cosine."""
    sin1, sin2, cos1, cos2 = (next_obs[..., i] for i in (1, 2, 3, 4))
    return 0.6 * (cos1 + cos1 * cos2 - sin1 * sin2) <= 1.0


def hopper_fell(obs: Any, action: Any, next_obs: Any) -> Any:
    """The torso is below 0.7 m or leans 0.2 rad, or a joint ran away. Observed speeds are clipped at 10 per second."""
    height, lean = next_obs[..., 0], abs(next_obs[..., 1])
    return ~((height > 0.7) & _finite(next_obs) & (lean < 0.2) & (abs(next_obs[..., 1:]) < 100.0).all(-1))


def walker_fell(obs: Any, action: Any, next_obs: Any) -> Any:
    """The torso is not between 0.8 and 2 m high, or leans 1 rad."""
    height, lean = next_obs[..., 0], abs(next_obs[..., 1])
    return ~((height > 0.8) & (height < 2.0) & (lean < 1.0))


def ant_fell(obs: Any, action: Any, next_obs: Any) -> Any:
    """The torso is not between 0.2 and 1 m high, or the state is no longer finite."""
    height = next_obs[..., 0]
    return ~(_finite(next_obs) & (height >= 0.2) & (height <= 1.0))


def humanoid_fell(obs: Any, action: Any, next_obs: Any) -> Any:
    """The torso is not between 1 and 2 m high."""
    height = next_obs[..., 0]
    return ~((height > 1.0) & (height < 2.0))


@dataclass(frozen=True)
class Robot:
    """One robot: how its plant is integrated, and where its returns stand."""

    gym_id: str
    physics_step_s: float
    frame_skip: int
    """Physics steps per decision at the robot's own rate."""
    n_steps: int
    """Decisions per episode at the robot's own rate."""
    gamma: float
    """Discount per decision at the robot's own rate."""
    random: float
    reference: float
    targets: tuple[float, ...]
    terminated: Callable[[Any, Any, Any], Any] | None
    source: str
    """Where the reference return was published."""

    @property
    def dt(self) -> float:
        """Seconds per decision at the robot's own rate."""
        return self.physics_step_s * self.frame_skip


# Physics: the constants of the v5 environments and their model files.
# gamma: 0.99, the field's default, unless the comment says why not; it says in seconds how far 1 / (1 - gamma)
#   decisions look ahead.
# random: mean return of uniformly random actions over 100 episodes of the v5 environment, measured with reset and
#   action seeds 0-99 (gymnasium 1.4.0, mujoco 4.0.0).
# reference: SAC after 1 M steps, at a discount that lets it solve the task; published on versions before v5.
# targets: for the five robots with published curves the hardest is what the best published agent reaches in about 25 k
#   steps: DHMBPO (4kubo/erl_lib results/main/gym/esvg, mean of 8 seeds, v4) has 5306 on HalfCheetah, 2636 (3171 at
#   30 k) on Hopper, 1695 on Walker2d, 2980 on Ant and 501 on Humanoid, the last two with shorter observations than
#   here. The comment says where the others come from.
TIANSHOU = "thu-ml/tianshou examples/mujoco/README.md, SAC, 10 seeds, "
RL_ZOO = "DLR-RM/rl-baselines3-zoo benchmark.md, SAC, 1 seed, "
CLEANRL = "vwxyzjn/cleanrl docs/benchmark/sac.md, SAC, 3 seeds, "

# fmt: off
ROBOTS = {
    # 4 s: the pole falls in a fraction of one. Targets: half an episode, Gymnasium's reward threshold.
    "inverted-pendulum": Robot("InvertedPendulum-v5", 0.02, 2, 1000, 0.99, 5.6, 1000.0,
                               (500.0, 950.0), pendulum_fell, TIANSHOU + "v2"),
    # 5 s: as for one pole. Targets: a tenth and a half of an episode, Gymnasium's reward threshold.
    "inverted-double-pendulum": Robot("InvertedDoublePendulum-v5", 0.01, 5, 1000, 0.99, 50.1, 9359.5,
                                      (1000.0, 5000.0, 9100.0), double_pendulum_fell, TIANSHOU + "v2"),
    # 2 s: twice the episode. Targets: REINFORCE after 3 M steps (-10.5, Tianshou), DDPG (-6.5, TD3 paper), Gymnasium's
    # reward threshold.
    "reacher": Robot("Reacher-v5", 0.01, 2, 50, 0.99, -42.9, -2.6,
                     (-10.5, -6.5, -3.75), None, TIANSHOU + "v2"),
    # 5 s: the episode. Targets: better than doing nothing (-53.9, measured), PPO after 100 k steps (-39,
    # leegoheun/ppo-pusher-v5), DDPG (-30.5, cleanrl/Pusher-v4-ddpg_continuous_action-seed1), both on Hugging Face.
    "pusher": Robot("Pusher-v5", 0.01, 5, 100, 0.99, -148.5, -22.45,
                    (-50.0, -39.0, -30.5), None, CLEANRL + "v4"),
    # 400 s: a stroke pays late, so the discount decides this task. With 0.99 SAC ends at 44 (Tianshou), with
    # 0.9999 TD3 ends at 359 (RL Zoo). Targets: past the short-sighted gait, DDPG's 144 (Tianshou), solved.
    "swimmer": Robot("Swimmer-v5", 0.01, 4, 1000, 0.9999, 3.2, 345.6,
                     (60.0, 144.0, 300.0), None, RL_ZOO + "v3"),
    # 1.6 s: at 8 ms per decision 0.99 would look 0.8 s ahead, less than a stride; 0.995 is DHMBPO's setting.
    "hopper": Robot("Hopper-v5", 0.002, 4, 1000, 0.995, 17.0, 3542.2,
                    (1000.0, 2000.0, 2800.0), hopper_fell, TIANSHOU + "v3"),
    # 5 s: several strides.
    "half-cheetah": Robot("HalfCheetah-v5", 0.01, 5, 1000, 0.99, -267.7, 12138.8,
                          (1500.0, 3000.0, 5000.0), None, TIANSHOU + "v3"),
    # 1.6 s: as the hopper.
    "walker2d": Robot("Walker2d-v5", 0.002, 4, 1000, 0.995, 1.9, 5007.0,
                      (500.0, 1000.0, 1600.0), walker_fell, TIANSHOU + "v3"),
    # 5 s: several strides. The first target is what an ant earns by standing still (995, measured with zero actions).
    "ant": Robot("Ant-v5", 0.01, 5, 1000, 0.99, -47.5, 5850.2,
                 (1000.0, 2000.0, 2900.0), ant_fell, TIANSHOU + "v3"),
    # 1.5 s: a fall takes less.
    "humanoid": Robot("Humanoid-v5", 0.003, 5, 1000, 0.99, 109.9, 5488.5,
                      (250.0, 400.0, 500.0), humanoid_fell, TIANSHOU + "v3"),
}
# fmt: on


@contextmanager
def quiet_compiler() -> Iterator[None]:
    """Silence MuJoCo's warning that the cheetah's model file uses the deprecated settotalmass, and only that one."""
    import mujoco

    def warn(message: str) -> None:
        if "settotalmass" not in message:
            warnings.warn(message, RuntimeWarning, stacklevel=2)

    previous = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(warn)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(previous)


def _physics_steps(robot: Robot, dt: float) -> int:
    """Physics steps in dt; the step itself stays as published, because contacts behave differently at another."""
    most = robot.n_steps * robot.frame_skip
    steps = round(dt / robot.physics_step_s) if math.isfinite(dt) else 0
    if not (1 <= steps <= most and math.isclose(steps * robot.physics_step_s, dt)):
        raise UserError(
            f"dt={dt}: {robot.gym_id} takes multiples of its physics step {robot.physics_step_s} s, "
            f"up to its episode of {most * robot.physics_step_s:g} s"
        )
    return steps


def make(robot: Robot, dt: float | None = None, render_mode: str | None = None) -> gym.Env:
    """The robot's Gymnasium environment with actions in [-1, 1], deciding every ``dt`` seconds.

    Observations are flat float64 boxes. At the robot's own rate nothing else changes. At another rate the reward per
    decision is scaled by dt over the robot's own and the episode keeps its length in seconds, so that the same
    behaviour has the same return. Raises UserError for a dt that is no multiple of the physics step.
    """
    steps = robot.frame_skip if dt is None else _physics_steps(robot, dt)
    scale = steps / robot.frame_skip
    if render_mode not in (None, "human") and sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")  # renders without a display; MuJoCo reads it on import
    with quiet_compiler():
        env: gym.Env = gym.make(
            robot.gym_id,
            frame_skip=steps,
            max_episode_steps=round(robot.n_steps / scale),
            render_mode=render_mode,
            disable_env_checker=True,
        )
    if env.action_space != gym.spaces.Box(-1.0, 1.0, env.action_space.shape):
        env = gym.wrappers.RescaleAction(env, np.float32(-1.0), np.float32(1.0))
    if steps != robot.frame_skip:
        env = gym.wrappers.TransformReward(env, partial(mul, scale))
    return env


for name, robot in ROBOTS.items():
    add_task(
        Task(
            name=f"locomotion/{name}",
            make=partial(make, robot),
            dt=robot.dt,
            horizon_s=robot.dt * robot.n_steps,
            discount_rate=-math.log(robot.gamma) / robot.dt,
            targets=robot.targets,
            reference=Reference(
                robot.random,
                robot.reference,
                f"random: 100 episodes of uniform actions on {robot.gym_id}, seeds 0-99; reference: {robot.source}",
            ),
            terminated=robot.terminated,
        )
    )
