"""CT-SAC, soft actor-critic as an Euler step of the continuous-time value flow (arXiv 2602.14587; mpnguyen2/ct-rl)."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
from torch import Tensor

from baselines.replay import Batch
from baselines.settings import check
from baselines.soft_actor_critic import SoftActorCritic, SoftActorCriticConfig
from baselines.soft_agent import SoftActorCriticAgent
from baselines.warmup import STEPS
from hjbbench.protocol import Task
from hjbbench.registry import agent


@dataclass(frozen=True)
class CtSacConfig:
    """The published settings of most tasks (ct-rl, benchmarks/hyperparams/ct_sac.csv); the discount is the task's."""

    warmup_steps: int = STEPS
    """The shared warm-up; the original's 10 000 random decisions are its budget of a million's hundredth."""
    hidden: tuple[int, ...] = (400, 300)
    learning_rate: float = 7.3e-4
    tau: float = 0.02
    """Polyak rate of the target critics: the Euler step of the flow."""
    log_std: float = -3.0
    """First log standard deviation of the policy."""
    batch_size: int = 256

    def __post_init__(self) -> None:
        check(self, negative=("log_std",))


class ValueFlow(SoftActorCritic):
    """SAC whose critics follow Q = r + V(s) + (e^(-rho u) V(s') - V(s)) / u; r is a rate, u a decision's time.

    Time is in units of the task's dt, as in the original: with u = 1 throughout this is SAC's own target.
    """

    def target(self, batch: Batch, action: Tensor, log_prob: Tensor, temperature: Tensor) -> Tensor:
        n = len(batch.obs)
        here = self.soft_value(batch.obs, action[:n], log_prob[:n], temperature)
        there = self.soft_value(batch.next_obs, action[n:], log_prob[n:], temperature)
        held = batch.elapsed
        change = (self.config.discount**held * there - here) / held
        return batch.reward / held + (1.0 - batch.terminated) * (here + change)


@agent("ct-sac", config=CtSacConfig())
class CtSac(SoftActorCriticAgent):
    """CT-SAC: soft actor-critic in continuous time; differs from SAC where decisions are held for varying times."""

    def __init__(self, task: Task, env: gym.Env, config: CtSacConfig, seed: int) -> None:
        super().__init__(task, env, seed, config.warmup_steps, config.batch_size)
        self.learner = ValueFlow(
            self.obs_dim,
            self.action_dim,
            SoftActorCriticConfig(
                task.discount,
                -float(self.action_dim),
                config.hidden,
                config.learning_rate,
                config.tau,
                config.log_std,
            ),
        )
