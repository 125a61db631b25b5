"""Double-horizon model-based policy optimisation (Kubo et al., TMLR 2025; 4kubo/erl_lib).

Long detached rollouts of the policy in a learned model choose the states to learn from; short differentiable ones from
there give the critics their targets and the policy its gradient.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.homoscedastic import HomoscedasticEnsemble
from baselines.networks import SquashedGaussian
from baselines.off_policy import OffPolicyAgent
from baselines.settings import check
from baselines.soft_actor_critic import Penalty
from baselines.value_expansion import BoundedCritic, expand, rollout
from baselines.warmup import STEPS
from hjbbench.adam import Adam
from hjbbench.compiling import compiled
from hjbbench.errors import UserError
from hjbbench.protocol import Clock, Task
from hjbbench.registry import agent


@dataclass(frozen=True)
class DhmbpoConfig:
    """The published settings, one set for all tasks, but for what the comments say; the discount is the task's.

    The original trains model and policy in blocks of one episode on a GPU: at least 700 model batches of 2048 per 1000
    decisions, which would take this model 0.1 s per decision on one core. Here model and policy learn after every
    decision, the model from smaller batches of data that are never an episode old.
    What else differs: no updates of the critics alone follow the model's (the original makes 250 per 1000 decisions);
    the optimisers never start anew (the original's do after every block); no data are held out to end the model's
    training early; a distribution rollout is one batch, where the original adds batches until 5120 states are alive,
    the same number where nothing ends early; the policy's spread is an exponential, as SAC's, instead of a softplus.
    """

    warmup_steps: int = STEPS
    """The shared warm-up; the original's 5000 random decisions are a fifth of the budgets here."""
    members: int = 8
    model_width: int = 256
    model_learning_rate: float = 1e-3
    model_batch: int = 256
    model_first_updates: int = 2000
    """Model updates when the warm-up ends; then one per decision."""
    first_updates: int = 1000
    """Updates of policy and critics when the warm-up ends: one per decision so far, as the original."""
    start_horizon: int = 20
    """Steps of a distribution rollout."""
    start_every: int = 20
    """Updates between two of them."""
    starts_kept: int = 10
    """Distribution rollouts whose states are learned from."""
    horizon: int = 5
    """Steps of a training rollout."""
    batch_size: int = 256
    width: int = 256
    """Units of the hidden layers of policy and critics, three each."""
    critics: int = 5
    learning_rate: float = 3e-4
    tau: float = 0.005
    temperature: float = 0.1
    """At the start."""
    reward_quantile: float = 0.01
    """Share of rewards outside the range that bounds the critics, on either side."""
    calibrate_every: int = 1000
    """Decisions between two looks at the data's statistics."""

    def __post_init__(self) -> None:
        check(self, zero=("reward_quantile", "caps_temporal", "caps_spatial", "caps_noise"))
        if self.batch_size % self.members:
            raise UserError(f"batch_size is {self.batch_size}, must be a multiple of members, {self.members}")
        if self.critics < 2:
            raise UserError(f"critics is {self.critics}, must be at least 2: targets are the smaller of two")


@dataclass(frozen=True)
class DhmbpoLiteConfig(DhmbpoConfig):
    """Narrower networks for a small machine, the rest as published."""

    model_width: int = 128
    width: int = 128
    critics: int = 3


def undiscounted(task: Task) -> str | None:
    """Why an agent whose values are bounded by rewards over a discount horizon cannot run on a task, or None."""
    if task.discount_rate <= 0.0:
        return f"discount_rate is {task.discount_rate:g} 1/s; its critic's bounds need one above 0"
    return None


@agent(
    "dhmbpo-lite",
    config=DhmbpoLiteConfig(),
    refuses=undiscounted,
    summary="DHMBPO for a small machine: narrower networks and three critics, the rest as published.",
)
@agent("dhmbpo", config=DhmbpoConfig(), refuses=undiscounted)
class Dhmbpo(OffPolicyAgent):
    """DHMBPO: an actor-critic that differentiates through short rollouts of a learned ensemble."""

    def __init__(self, task: Task, env: gym.Env, config: DhmbpoConfig, seed: int) -> None:
        super().__init__(task, env, seed, config.warmup_steps)
        self.config = config
        obs_dim, action_dim, width = self.obs_dim, self.action_dim, config.width
        self.model = HomoscedasticEnsemble(
            obs_dim, action_dim, config.members, config.model_width, config.model_learning_rate
        )
        self.policy = SquashedGaussian(obs_dim, action_dim, (width, width, width), F.silu)
        for layer in self.policy.net.layers:
            nn.init.orthogonal_(layer.weight[0])
            nn.init.zeros_(layer.bias)
        self.critic = BoundedCritic(obs_dim + action_dim, config.critics, width, task.discount)
        self.log_temperature = nn.Parameter(torch.tensor(config.temperature).log())
        self._policy_optimizer = Adam([*self.policy.parameters(), self.log_temperature], config.learning_rate)
        self._critic_optimizer = Adam(self.critic.online.parameters(), config.learning_rate)
        self._step_gradients = self._gradient_step
        self.penalty = self._penalty()
        self.starts: list[Tensor] = []
        self.n_updates = 0
        self.seconds = {"model": 0.0, "starts": 0.0, "updates": 0.0}

    def fuse(self) -> None:
        self._step_gradients = compiled(self._gradient_step)

    def _penalty(self) -> Penalty | None:
        """What is added to the policy's loss."""
        return None

    @property
    def networks(self) -> nn.Module:
        return nn.ModuleDict({"model": self.model, "policy": self.policy, "critic": self.critic})

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "log_temperature": self.log_temperature.data,
            "optimizers": [self._policy_optimizer.state_dict(), self._critic_optimizer.state_dict()],
            "starts": self.starts,
            "n_updates": self.n_updates,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.log_temperature.data.copy_(state["log_temperature"])
        optimizers = (self._policy_optimizer, self._critic_optimizer)
        for optimizer, stored in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        self.starts, self.n_updates, self.seconds = state["starts"], state["n_updates"], state["seconds"]
        if self.starts:
            self.start_pool = torch.cat(self.starts)

    def value(self, obs: np.ndarray) -> np.ndarray:
        """Mean of the critics at the deterministic action."""
        with torch.no_grad():
            states = torch.as_tensor(obs, dtype=torch.float32)
            scaled = self.model.standardise(states)
            return self.critic(torch.cat([scaled, self.policy.mode(scaled)], dim=1)).mean(0).numpy()

    def _policy(self, obs: Tensor, deterministic: bool) -> Tensor:
        scaled = self.model.standardise(obs)
        if deterministic:
            return self.policy.mode(scaled)
        return self._draw(obs)[0]

    def _draw(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Actions and their log probabilities."""
        return self.policy(self.model.standardise(obs), torch.randn(len(obs), self.action_dim))

    def _step(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        reward, next_obs = self.model.step(obs, action)
        return reward, next_obs, self.terminated(obs.detach(), action.detach(), next_obs.detach())

    def _train(self, clock: Clock) -> int:
        config, n_steps = self.config, clock.n_steps + 1
        first = n_steps == self.warmup_steps
        began = time.perf_counter()
        if first or n_steps % config.calibrate_every == 0:
            self.model.calibrate(self.replay.all)
        for _ in range(config.model_first_updates if first else 1):
            loss = self.model.fit(self.replay.all, config.model_batch)
        self.seconds["model"] += time.perf_counter() - began
        updates = config.first_updates if first else 1
        for _ in range(updates):
            if self.n_updates % config.start_every == 0:
                self._choose_starts()
            self._update()
        if n_steps % config.calibrate_every == 0:
            clock.record(self._diagnostics(loss))
        return updates

    @torch.no_grad()
    def _choose_starts(self) -> None:
        """Distribution rollout: keep the states that the policy visits in the model from real states."""
        began = time.perf_counter()
        states = rollout(
            self.replay.sample(self.config.batch_size).obs, self.config.start_horizon, self._draw, self._step
        )
        self.starts.append(torch.cat(states.obs)[states.alive.flatten() > 0])
        del self.starts[: -self.config.starts_kept]
        self.start_pool = torch.cat(self.starts)
        self.seconds["starts"] += time.perf_counter() - began

    def _update(self) -> None:
        """One gradient step of critics, policy and temperature on one training rollout."""
        began = time.perf_counter()
        self.n_updates += 1
        rows = torch.randint(len(self.start_pool), (self.config.batch_size,))
        self.entropy, self.mean_value = self._step_gradients(self.start_pool.index_select(0, rows))
        self.seconds["updates"] += time.perf_counter() - began

    def _gradient_step(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """The update on a rollout from obs (n, obs_dim); returns the policy's entropy and the mean value there."""
        config, discount = self.config, self.task.discount
        temperature = self.log_temperature.detach().exp()
        path = rollout(obs, config.horizon, self._draw, self._step)
        bonus = temperature * path.log_prob
        first = torch.cat([self.model.standardise(path.obs[0]), path.action[0]], dim=1)
        last = torch.cat([self.model.standardise(path.obs[-1]), path.action[-1]], dim=1)
        entropy_rewards = path.reward - bonus[:-1]
        self.critic.bound(entropy_rewards.detach(), config.reward_quantile, config.learning_rate)

        with torch.no_grad():  # the first action is given, so its entropy is no part of the critics' value
            earned = torch.cat([path.reward[:1], entropy_rewards[1:]])
            target = expand(earned, self.critic.target_value(last) - bonus[-1], path.alive, discount)
        error = (self.critic(first.detach(), dropping=True) - target).square().mean(1).sum()
        self._critic_optimizer.step(torch.autograd.grad(error, self._critic_optimizer.parameters))
        self.critic.follow(config.tau)

        value = expand(entropy_rewards, self.critic(last).mean(0) - bonus[-1], path.alive, discount)
        entropy = -path.log_prob[0].detach().mean()
        loss = self.log_temperature.exp() * (entropy + self.action_dim) - value.mean()
        if self.penalty is not None:
            here, there = (self.model.standardise(states.detach()) for states in path.obs[:2])
            loss = loss + self.penalty(self.policy, here, there)
        self._policy_optimizer.step(torch.autograd.grad(loss, self._policy_optimizer.parameters))
        return entropy, value.detach().mean()

    def _diagnostics(self, model_loss: Tensor) -> dict[str, float]:
        values = {
            "model_loss": model_loss,
            "noise": self.model.log_noise.exp().mean(),
            "entropy": self.entropy,
            "temperature": self.log_temperature.exp(),
            "value": self.mean_value,
            "value_low": self.critic.low,
            "value_high": self.critic.high,
        }
        return {name: value.item() for name, value in values.items()} | {f"{k}_s": v for k, v in self.seconds.items()}
