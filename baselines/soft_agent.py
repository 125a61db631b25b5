"""An agent around the soft actor-critic update: one update per decision on real transitions, unless it says more."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from baselines.off_policy import OffPolicyAgent
from baselines.soft_actor_critic import SoftActorCritic
from hjbbench.protocol import Clock, Task


class SoftActorCriticAgent(OffPolicyAgent):
    """Base of the agents whose policy is a ``SoftActorCritic``; the subclass builds ``learner``."""

    learner: SoftActorCritic

    def __init__(self, task: Task, env: gym.Env, seed: int, warmup_steps: int, batch_size: int) -> None:
        super().__init__(task, env, seed, warmup_steps)
        self.batch_size = batch_size

    @property
    def networks(self) -> nn.Module:
        return self.learner

    def value(self, obs: np.ndarray) -> np.ndarray:
        """The smaller critic at the deterministic action; the soft value has the entropy bonus on top."""
        return self.learner.value(torch.as_tensor(obs, dtype=torch.float32)).numpy()

    def fuse(self) -> None:
        self.learner.fuse()

    def _policy(self, obs: Tensor, deterministic: bool) -> Tensor:
        if deterministic:
            return self.learner.policy.mode(obs)
        return self.learner.policy(obs, torch.randn(len(obs), self.action_dim))[0]

    def _train(self, clock: Clock) -> int:
        self.learner.update(self.replay.sample(self.batch_size))
        return 1
