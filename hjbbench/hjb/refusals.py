"""What the agent refuses to learn from: one line that names the task and the field."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
from torch import Tensor

from hjbbench.errors import UserError
from hjbbench.protocol import Task


def undiscounted(task: Task) -> str | None:
    """Why the agent, whose flow steps in units of the discount horizon, cannot run on a task, or None."""
    return None if task.discount_rate > 0 else f"discount_rate is {task.discount_rate:g} 1/s, must be positive"


def sizes(task: Task, env: gym.Env) -> tuple[int, int]:
    """Observation and action dimensions; raises UserError for spaces and times the agent cannot use."""
    for name, space in (("observation", env.observation_space), ("action", env.action_space)):
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
            raise UserError(f"task {task.name!r}: {name} space is {space}, must be a flat Box")
    assert isinstance(env.action_space, gym.spaces.Box)
    if not env.action_space.is_bounded():
        raise UserError(f"task {task.name!r}: action space is {env.action_space}, must be bounded by [-1, 1]")
    if not (math.isfinite(task.dt) and task.dt > 0):
        raise UserError(f"task {task.name!r}: dt is {task.dt} s, must be positive")
    if reason := undiscounted(task):
        raise UserError(f"task {task.name!r}: {reason}")
    assert env.observation_space.shape is not None
    return env.observation_space.shape[0], env.action_space.shape[0]


def check_observation(task: Task, obs: np.ndarray) -> None:
    """Raise UserError for an observation that is not finite."""
    if not np.isfinite(obs).all():
        raise UserError(f"task {task.name!r}: observation is {obs}, must be finite")


def check_rewards(task: Task, reward: Tensor) -> None:
    """Raise UserError for rewards (n,) from which nothing can be learned: all the same, and no episode can end."""
    if task.terminated is None and reward.amin() == reward.amax():
        raise UserError(
            f"task {task.name!r}: reward is {reward[0].item():g} at each of the first {len(reward)} decisions "
            "and no episode can end early; it must depend on the state or the action"
        )
