"""The diffusion-HJB agent: the loop that feeds the generator, the value flow and the Hamiltonian argmax."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from hjbbench.compiling import compiled, pays_off
from hjbbench.errors import Diverged
from hjbbench.hjb import refusals, valuation
from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.diagnostics import measure
from hjbbench.hjb.flow import HamiltonianFlow, Rollout, Targets
from hjbbench.hjb.generator import LearnedGenerator
from hjbbench.hjb.networks import Ensemble, Standardiser, held
from hjbbench.hjb.policy import Policy
from hjbbench.hjb.replay import Batch, Replay
from hjbbench.hjb.value import Critic
from hjbbench.protocol import Clock, Task
from hjbbench.registry import Resources, agent

RECORD_EVERY = 1000
"""Decisions between two rows of diagnostics."""
PARTS = ("replay", "generator", "units", "policy", "critic")
"""Attributes with a state of their own, all of which a checkpoint holds."""
RANGE_RATE = 0.1
"""Share by which each rollout moves the range of rewards."""


def _resources(config: HJBConfig) -> Resources:
    return Resources(gpus=0.0 if config.device == "cpu" else 0.25)  # its networks fill no GPU


@agent("diffusion-hjb", config=HJBConfig(), refuses=refusals.undiscounted, resources=_resources)
class DiffusionHJB:
    """Learns a diffusion generator, the Hamiltonian value flow along it, and a policy by its pathwise argmax."""

    def __init__(self, task: Task, env: gym.Env, config: HJBConfig, seed: int) -> None:
        obs_dim, action_dim = refusals.sizes(task, env)
        self.task, self.config = task, config
        self.rng = torch.Generator(config.device).manual_seed(seed % 2**63)
        device = self.rng.device
        self.replay = Replay(obs_dim, action_dim, device)
        self.generator = LearnedGenerator(obs_dim, action_dim, task.dt, task.terminated, config, self.rng)
        self.units = Standardiser(obs_dim, device)
        self.policy = Policy(obs_dim, action_dim, self.units, config, self.rng)
        self.critic = Critic(obs_dim, action_dim, task.discount, self.units, config, self.rng)
        self.flow = HamiltonianFlow(self.generator, self.policy, self.critic, action_dim, config, self.rng)
        self.n_updates = 0
        self.targets: Targets | None = None
        self.starts: list[Tensor] = []
        self.rollout: Rollout | None = None
        self.critic_loss = torch.zeros((), device=device)
        self.entropy = torch.zeros((), device=device)
        self.seconds = {"generator": 0.0, "flow": 0.0, "critic": 0.0, "policy": 0.0}
        self._descend = self._step_critic

    # The loop ---------------------------------------------------------------------------------------------------------

    def learn(self, env: gym.Env, clock: Clock) -> None:
        """Act, store, improve, until the clock stops; raises UserError and Diverged with the task's name."""
        if pays_off(clock.budget_steps, self.rng.device):
            self._descend = compiled(self._step_critic)
            for part in (self.generator, self.policy, self.flow):
                part.compile()
        obs, length = env.reset()[0], 0
        while clock.running:
            action = self._explore(obs)
            next_obs, reward, terminated, truncated, _ = env.step(action)
            refusals.check_observation(self.task, next_obs)
            self.replay.add(obs, action, next_obs, float(reward), bool(terminated), self.task.dt)
            length += 1
            # One long early episode may end up where no good policy will be, and every rollout would start there.
            cut = self.replay.size <= self.config.short_until and length >= self.config.short_episode
            ended = terminated or truncated or cut
            if ended:
                self.replay.end_episode()
            updates = self._improve()
            if updates and self.replay.size % RECORD_EVERY == 0:
                clock.record(measure(self))
            clock.tick(steps=1, updates=updates)
            if ended:
                clock.checkpoint()
                next_obs, length = env.reset()[0], 0
            obs = next_obs

    @property
    def _warmup(self) -> int:
        # At least two rounds of blocks, so that every member has data and a fold to be tested on.
        return max(self.config.warmup_steps, 20 * self.config.generator_members)

    def _explore(self, obs: np.ndarray) -> np.ndarray:
        if self.replay.size < self._warmup:
            action = torch.rand(self.policy.action_dim, generator=self.rng, device=self.rng.device) * 2 - 1
            return action.cpu().numpy()
        return self.act(obs, deterministic=False)

    def _improve(self) -> int:
        """Everything that follows a decision; returns the number of critic updates."""
        size, config = self.replay.size, self.config
        if size < self._warmup:
            return 0
        first = size == self._warmup
        began = time.perf_counter()
        if first:
            refusals.check_rewards(self.task, self.replay[:].reward)
        if first or size % config.look_every == 0:
            self._look()
        self.generator.fit(self.replay, config.generator_first_updates if first else size % config.generator_every == 0)
        if first:
            self._judge()
        self.seconds["generator"] += time.perf_counter() - began
        updates = config.policy_first_updates if first else 1
        for _ in range(updates):
            self._update()
        return updates

    def _look(self) -> None:
        """Let ranges and units follow the data: where a good policy is, few random decisions have been."""
        nets: list[Ensemble] = []  # fresh ones have no function to keep
        if self.targets is None:
            data = self.replay[:]
            exits, bonus = data.terminated > 0, torch.zeros_like(data.reward)
            self.critic.widen(data.reward, exits, bonus, self.task.terminated is not None, rate=1.0)
        else:
            self._judge()
            nets = [*self.policy.nets, *self.critic.nets.values(), *self.critic.target_nets.values()]
        self.units.adopt(*self.replay.state_units(), nets)
        self.policy.keep_pace(self.replay.state_rate())
        self.generator.look(self.replay)
        self.critic.rescale()

    def _judge(self) -> None:
        """Use what the generator knows best, and the closed form of the Hamiltonian's maximum where it has one."""
        self.generator.judge(self.replay)
        self.policy.bang_bang = self.generator.least_time

    def _update(self) -> None:
        config = self.config
        times = [time.perf_counter()]
        price = self.policy.temperature * self.critic.reward_range
        if self.n_updates % config.rollout_every == 0:
            self._flow(price)
        times.append(time.perf_counter())
        self.critic_loss = self._update_critic(price)
        times.append(time.perf_counter())
        self.n_updates += 1
        if self.n_updates % config.policy_every == 0:
            start = self._draw(self.starts_pool, config.batch)
            with held(self.generator.net, *self.critic.nets.values()):
                self.entropy = self.policy.improve(self.generator, self.critic, start).entropy
        times.append(time.perf_counter())
        for part, begin, end in zip(("flow", "critic", "policy"), times, times[1:], strict=False):
            self.seconds[part] += end - begin
        if not (self.critic_loss.isfinite() and self.policy.gradient_norm.isfinite()):
            raise Diverged(f"task {self.task.name!r}: a loss is not finite after {self.n_updates} updates")

    def _draw(self, rows: Tensor, n: int) -> Tensor:
        return rows[torch.randint(0, len(rows), (n,), generator=self.rng, device=rows.device)]

    def _flow(self, price: Tensor) -> None:
        """A distribution rollout: targets for the critic, states for the policy."""
        n = self.config.rollout_batch
        index = torch.randint(0, self.replay.size, (n,), generator=self.rng, device=self.rng.device)
        self.rollout = self.flow.roll_out(self.replay[index].state)
        living = self.rollout.alive[:-1] > 0
        bonus = -price * self.rollout.log_prob[:-1][living]
        exits = self.rollout.alive[1:][living] == 0
        self.critic.widen(self.rollout.reward[living], exits, bonus, self.task.terminated is not None, RANGE_RATE)
        self.targets = self.flow.targets(self.rollout, price)
        self.starts = [*self.starts, self.targets.state][-self.config.rollout_kept :]
        self.starts_pool = torch.cat(self.starts)

    def _update_critic(self, price: Tensor) -> Tensor:
        config = self.config
        assert self.targets is not None
        index = torch.randint(0, len(self.targets.value), (config.batch,), generator=self.rng, device=self.rng.device)
        state, action, target = (x[index] for x in self.targets)
        if config.flow == "pinn":
            return self.critic.descend(self.flow.residual(state, price))
        places = torch.randint(0, self.replay.size, (config.real_batch,), generator=self.rng, device=self.rng.device)
        noise = torch.randn(2 * config.real_batch, self.policy.action_dim, generator=self.rng, device=self.rng.device)
        return self._descend(Targets(state, action, target), self.replay[places], noise, self.critic.few(), price)

    def _step_critic(self, drawn: Targets, real: Batch, noise: Tensor, members: Tensor, price: Tensor) -> Tensor:
        """One step of the critic on states of a rollout and, with one-step anchors as targets, on real transitions."""
        with torch.no_grad():
            # One look at the policy serves both: A(pi) at the real states, and V at their successors.
            policy_action, log_prob, _ = self.policy.sample(torch.cat([real.state, real.next_state]), noise)
            here, there = policy_action.chunk(2)
            following = self.critic.bounded_target(real.next_state, there, members) - price * log_prob[len(here) :]
            anchor = real.reward + self.critic.discount * (1 - real.terminated) * following
        return self.critic.learn(*drawn, real.state, real.action, here, anchor)

    # What the harness asks --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, obs: np.ndarray, *, deterministic: bool = True) -> np.ndarray:
        """Actions for (obs_dim,) or (n, obs_dim); the averaged policy's mean, or a draw from the newest policy."""
        state = torch.as_tensor(obs, dtype=torch.float32, device=self.rng.device)
        rows = state if state.dim() == 2 else state[None]
        if deterministic:
            action = self.policy.mean(rows)
        else:
            noise = torch.randn(len(rows), self.policy.action_dim, generator=self.rng, device=self.rng.device)
            action = self.policy.sample(rows, noise)[0]
        return action.view(*state.shape[:-1], -1).cpu().numpy()

    @torch.no_grad()
    def value(self, obs: np.ndarray) -> np.ndarray:
        """V (n,) of the deterministic policy in reward units, discounted by exp(-rho dt) per decision.

        Sampled by rollouts (see ``valuation``). During the warm-up nothing is known and V is 0.
        """
        if not self.generator.n_updates:
            return np.zeros(len(obs), np.float32)
        start = torch.as_tensor(obs, dtype=torch.float32, device=self.rng.device)
        return valuation.value(self.generator, self.policy, self.critic, start).cpu().numpy()

    # State ------------------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write the whole state: what follows a load is what would have followed without it."""
        parts = {name: getattr(self, name).state_dict() for name in PARTS}
        state: dict[str, Any] = parts | {
            "rng": self.rng.get_state(),
            "n_updates": self.n_updates,
            "targets": None if self.targets is None else tuple(self.targets),
            "starts": self.starts,
            "rollout": None if self.rollout is None else tuple(self.rollout),
            "entropy": self.entropy,
            "seconds": self.seconds,
        }
        torch.save(state, path)

    def load(self, path: Path) -> None:
        """Restore what ``save`` wrote; the task and the configuration must be the same."""
        state = torch.load(path, map_location=self.rng.device, weights_only=True)
        for name in PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.rng.set_state(state["rng"].cpu())
        self.n_updates, self.starts = state["n_updates"], state["starts"]
        self.entropy, self.seconds = state["entropy"], state["seconds"]
        self.rollout = None if state["rollout"] is None else Rollout(*state["rollout"])
        if state["targets"] is not None:
            self.targets = Targets(*state["targets"])
            self.starts_pool = torch.cat(self.starts)
