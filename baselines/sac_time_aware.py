"""Soft actor-critic whose constants are physical: the honest opponent where the time between decisions changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from baselines.sb3 import Sb3Agent
from baselines.settings import check
from baselines.soft_actor_critic import FIRST_TEMPERATURE, LEARNING_RATE, TAU
from hjbbench.protocol import Task
from hjbbench.registry import agent, get_task


class TimedReplayBuffer(ReplayBuffer):
    """Stable-Baselines3's replay buffer, with the discount exp(-rho dt) of the time each decision was held.

    That time is ``info["dt"]`` in seconds where an environment reports one, else ``dt``.
    """

    def __init__(self, *args: Any, discount_rate: float, dt: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.discount_rate, self.dt = discount_rate, dt
        self.held_s = np.zeros((self.buffer_size, self.n_envs), dtype=np.float32)

    def add(self, *args: Any) -> None:
        self.held_s[self.pos] = [info.get("dt", self.dt) for info in args[-1]]
        super().add(*args)

    def _get_samples(self, batch_inds: np.ndarray, env: VecNormalize | None = None) -> ReplayBufferSamples:
        held_s = torch.as_tensor(self.held_s[batch_inds, 0, None])
        samples = super()._get_samples(batch_inds, env)
        return samples._replace(discounts=torch.exp(-self.discount_rate * held_s))


@dataclass(frozen=True)
class SacTimeAwareConfig:
    """The settings of ``sac`` at the task's own dt; the rest follows from the time a decision is held."""

    learning_rate: float = LEARNING_RATE
    buffer_size: int = 1_000_000
    learning_starts: int = 100
    batch_size: int = 256
    tau: float = TAU
    """Polyak rate of the target critics per decision at the task's own dt: at any dt they lag by the same seconds."""
    net_arch: tuple[int, ...] = (256, 256)
    first_temperature: float = FIRST_TEMPERATURE

    def __post_init__(self) -> None:
        check(self)


@agent("sac-time-aware", config=SacTimeAwareConfig())
class SacTimeAware(Sb3Agent):
    """SAC in seconds: discount exp(-rho dt) per transition and target networks that lag by a time, not by a count."""

    def __init__(self, task: Task, env: gym.Env, config: SacTimeAwareConfig, seed: int) -> None:
        ratio = task.dt / get_task(task.name).dt
        self.model = SAC(
            "MlpPolicy",
            env,
            learning_rate=config.learning_rate,
            buffer_size=config.buffer_size,
            learning_starts=config.learning_starts,
            batch_size=config.batch_size,
            tau=-math.expm1(ratio * math.log1p(-config.tau)),
            gamma=task.discount,
            ent_coef=f"auto_{config.first_temperature}",
            replay_buffer_class=TimedReplayBuffer,
            replay_buffer_kwargs={"discount_rate": task.discount_rate, "dt": task.dt},
            policy_kwargs={"net_arch": list(config.net_arch)},
            seed=seed,
            device="cpu",
        )
