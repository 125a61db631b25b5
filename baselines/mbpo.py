"""Model-based policy optimisation (Janner et al. 2019, arXiv 1906.08253) with its original settings."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import nn

from baselines.ensemble import GaussianEnsemble
from baselines.replay import Batch, Replay
from baselines.settings import check
from baselines.soft_actor_critic import Penalty, SoftActorCritic, SoftActorCriticConfig
from baselines.soft_agent import SoftActorCriticAgent
from baselines.warmup import STEPS
from hjbbench.errors import UserError
from hjbbench.protocol import Clock, Task
from hjbbench.registry import Resources, agent


@dataclass(frozen=True)
class Original:
    """What the original sets per task (jannerm/mbpo, examples/config/<task>/0.py)."""

    updates_per_step: int = 20
    rollout_schedule: tuple[int, int, int, int] = (20, 150, 1, 1)
    """(first epoch, last epoch, length before, length after): linear in between, rounded down."""
    target_entropy: float | None = None
    """In nats; None: half a nat per action dimension below zero, what three of the original robots have."""
    epoch_steps: int = 1000
    model_every: int = 250
    """Decisions between two model trainings."""
    retain_epochs: int = 1
    """Epochs whose model rollouts are kept."""
    model_width: int = 200
    warmup_steps: int = 5000


ORIGINAL = {
    "half-cheetah": Original(updates_per_step=40, target_entropy=-3.0),
    "hopper": Original(rollout_schedule=(20, 150, 1, 15), target_entropy=-1.0),
    "walker2d": Original(target_entropy=-3.0),
    "ant": Original(rollout_schedule=(20, 100, 1, 25), target_entropy=-4.0),
    "humanoid": Original(
        rollout_schedule=(20, 300, 1, 25), target_entropy=-2.0, model_every=1000, retain_epochs=5, model_width=400
    ),
    "inverted-pendulum": Original(10, (1, 15, 1, 1), -0.05, epoch_steps=250, warmup_steps=500),
    "inverted-double-pendulum": Original(20, (1, 15, 1, 1), -0.5, epoch_steps=250, warmup_steps=500),
}
"""By the robot in the task's name, in gusts or not; a task the original never had gets ``Original()``: the
settings most of these share, and rollouts of one step, which no model error can lead astray. The original's own
template for such tasks (examples/config/custom) differs in a target entropy of -1 whatever the number of actions, -0.5
here on the pendulum, and in longer rollouts from epoch 30 on."""


@dataclass(frozen=True)
class MbpoConfig:
    """The original's settings; None: what the original sets for the robot. The discount is the task's."""

    warmup_steps: int | None = None
    """None: the shorter of the original's and the shared warm-up; 5000 decisions are a fifth of the budgets here."""
    updates_per_step: int | None = None
    real_share: float = 0.05
    """Share of real transitions in a batch."""
    rollouts: int = 100_000
    """States that model rollouts start from, per model training."""
    members: int = 7
    elites: int = 5
    model_learning_rate: float = 1e-3
    model_first_updates: int = 2000
    """Gradient steps of the first model training, at least, as dhmbpo's: the original's patience ends it too early on a
    warm-up a fifth as long as its own."""
    model_epochs_max: int | None = None
    """Passes over the data in one model training; None: until the held-out error stops falling."""
    hidden: tuple[int, ...] = (256, 256)
    learning_rate: float = 3e-4
    tau: float = 0.005
    batch_size: int = 256

    def __post_init__(self) -> None:
        check(self, zero=("real_share", "caps_temporal", "caps_spatial", "caps_noise"))
        if self.real_share > 1.0:
            raise UserError(f"real_share is {self.real_share:g}, must be at most 1")
        if self.elites > self.members:
            raise UserError(f"elites is {self.elites}, must be at most members, {self.members}")


@dataclass(frozen=True)
class MbpoLiteConfig(MbpoConfig):
    """MBPO for a small machine: fewer updates per decision, the rest as the original."""

    updates_per_step: int | None = 5
    """A quarter of the original's usual 20, an eighth of its 40 for the half-cheetah."""


BLOCK = 5000
"""Model rollouts made at once: more leave the cache."""

# A humanoid's imagined transitions alone take 1.4 GB, twice while their buffer grows.
RESOURCES = Resources(memory_mb=8000)


@agent(
    "mbpo-lite",
    config=MbpoLiteConfig(),
    resources=lambda config: RESOURCES,
    summary="MBPO for a small machine: five updates per decision, the rest as the original.",
)
@agent("mbpo", config=MbpoConfig(), resources=lambda config: RESOURCES)
class Mbpo(SoftActorCriticAgent):
    """MBPO: soft actor-critic on short rollouts of a learned ensemble, many updates per decision."""

    def __init__(self, task: Task, env: gym.Env, config: MbpoConfig, seed: int) -> None:
        robot = task.name.split("/")[-1].removesuffix("-gusty")
        self.config, self.original = config, ORIGINAL.get(robot, Original())
        shared = min(self.original.warmup_steps, STEPS)
        warmup_steps = shared if config.warmup_steps is None else config.warmup_steps
        super().__init__(task, env, seed, warmup_steps, config.batch_size)
        entropy = self.original.target_entropy
        self.learner = SoftActorCritic(
            self.obs_dim,
            self.action_dim,
            SoftActorCriticConfig(
                discount=task.discount,
                target_entropy=-0.5 * self.action_dim if entropy is None else entropy,
                hidden=config.hidden,
                learning_rate=config.learning_rate,
                tau=config.tau,
            ),
            self._penalty(),
        )
        self.model = GaussianEnsemble(
            self.obs_dim + self.action_dim,
            1 + self.obs_dim,
            config.members,
            config.elites,
            self.original.model_width,
            config.model_learning_rate,
        )
        self.imagined = Replay(self.obs_dim, self.action_dim, 1)
        own = config.updates_per_step
        self.updates_per_step = self.original.updates_per_step if own is None else own
        self.seconds = {"model": 0.0, "updates": 0.0}

    def fuse(self) -> None:
        super().fuse()
        self.model.fuse()

    def _penalty(self) -> Penalty | None:
        """What is added to the policy's loss."""
        return None

    @property
    def networks(self) -> nn.Module:
        return nn.ModuleDict({"learner": self.learner, "model": self.model})

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"imagined": self.imagined.state_dict(), "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.imagined.load_state_dict(state["imagined"])
        self.seconds = state["seconds"]

    def rollout_length(self, epoch: int) -> int:
        """Length of model rollouts in an epoch: linear between two values, constant before and after."""
        first, last, short, long = self.original.rollout_schedule
        share = min(max((epoch - first) / (last - first), 0.0), 1.0)
        return int(short + share * (long - short))

    def _train(self, clock: Clock) -> int:
        since = clock.n_steps + 1 - self.warmup_steps
        began = time.perf_counter()
        if since % self.original.model_every == 0:
            metrics = self._fit_model(first=since == 0)
            self._imagine(self.rollout_length(since // self.original.epoch_steps))
            self.seconds["model"] += time.perf_counter() - began
            temperature = self.learner.log_temperature.exp().item()
            clock.record({**metrics, "temperature": temperature, **{f"{k}_s": v for k, v in self.seconds.items()}})
            began = time.perf_counter()
        n_real = int(self.config.real_share * self.config.batch_size)
        n_imagined = self.config.batch_size - n_real
        real = self.replay.sample_rows(n_real * self.updates_per_step)
        imagined = self.imagined.sample_rows(n_imagined * self.updates_per_step)
        for rows in zip(real.split(n_real), imagined.split(n_imagined), strict=True):
            self.learner.update(self.replay.split(torch.cat(rows)))
        self.seconds["updates"] += time.perf_counter() - began
        return self.updates_per_step

    def _fit_model(self, first: bool) -> dict[str, float]:
        data = self.replay.all
        x = torch.cat([data.obs, data.action], dim=1)
        y = torch.cat([data.reward[:, None], data.next_obs - data.obs], dim=1)
        least = self.config.model_first_updates if first else 0
        return self.model.fit(x, y, self.config.model_epochs_max, least)

    @torch.no_grad()
    def _imagine(self, length: int) -> None:
        """Branch rollouts of the policy from real states and keep them; a trajectory ends where the task would."""
        per_epoch = self.config.rollouts * self.original.epoch_steps // self.original.model_every
        capacity = self.original.retain_epochs * length * per_epoch
        if capacity != self.imagined.capacity:
            self.imagined = self.imagined.resized(capacity)
        for obs in self.replay.sample(self.config.rollouts).obs.split(BLOCK):
            for _ in range(length):
                action = self._policy(obs, deterministic=False)
                outcome = self.model.sample(torch.cat([obs, action], dim=1))
                next_obs = obs + outcome[:, 1:]
                over = self.terminated(obs, action, next_obs)
                held = torch.ones(len(obs))
                self.imagined.extend(Batch(obs, action, next_obs, outcome[:, 0], over.float(), held))
                obs = next_obs[~over]
                if not len(obs):
                    break
