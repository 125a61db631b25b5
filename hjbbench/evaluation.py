"""Evaluate a policy: the same episodes for every agent, the deterministic action, all measures in one row."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from hjbbench.environment import checked_action
from hjbbench.errors import Diverged
from hjbbench.greedy import Exact, Greedy
from hjbbench.metrics.smoothness import smoothness
from hjbbench.metrics.value_error import relative_l2
from hjbbench.protocol import Agent, Task
from hjbbench.seeding import derive_seed

VALUE_STATES = 100
"""Most states a value error is taken over, evenly spaced along the episodes: an agent may roll out from each."""


class Evaluator:
    """Runs evaluation episodes of one task at one dt, all at once so that the policy is called on a batch.

    Episode seeds are a function of (task, seed, evaluation index, episode): common random numbers between agents,
    fresh at each evaluation so that luck does not persist along a learning curve.
    """

    def __init__(self, task: Task, n_episodes: int, seed: int) -> None:
        self.task = task
        self.seed = seed
        self._envs = [task.make(dt=task.dt) for _ in range(n_episodes)]
        self._optimal = None if task.equations is None else Greedy(task.equations, task.dt, Exact(task.equations))
        self.n_evaluations = 0

    def evaluate(self, agent: Agent) -> dict[str, float | None]:
        """One evaluation's columns of evals.csv (the costs aside). Raises Diverged for an action that is not finite."""
        index, self.n_evaluations = self.n_evaluations, self.n_evaluations + 1
        episodes = self._play(agent, index)
        row = self._summary(agent, episodes)
        if self._optimal is not None:
            best = _returns(self._play(self._optimal, index)).mean()
            row["regret_rel"] = float((best - _returns(episodes).mean()) / abs(best))
        return row

    def _play(self, agent: Agent | Greedy, index: int) -> list[_Episode]:
        """The episodes of one evaluation."""
        seeds = [derive_seed(self.task.name, self.seed, "evaluation", index, k) for k in range(len(self._envs))]
        episodes = [_Episode(env, seed) for env, seed in zip(self._envs, seeds, strict=True)]
        while live := [episode for episode in episodes if not episode.over]:
            batch = np.stack([episode.obs for episode in live])
            actions = np.asarray(agent.act(batch, deterministic=True))
            if len(actions) != len(live):
                raise ValueError(f"act returned {len(actions)} actions for {len(live)} observations")
            for episode, action in zip(live, actions, strict=True):
                episode.step(action)
        return episodes

    def close(self) -> None:
        for env in self._envs:
            env.close()

    def _summary(self, agent: Agent, episodes: list[_Episode]) -> dict[str, float | None]:
        returns = _returns(episodes)
        if not np.isfinite(returns).all():
            raise Diverged("an evaluation episode left the finite numbers")
        row: dict[str, float | None] = {
            "n_episodes": len(episodes),
            "return_mean": float(returns.mean()),
            "return_std": float(returns.std()),
            "return_min": float(returns.min()),
            "return_max": float(returns.max()),
            "length_s_mean": self.task.dt * float(np.mean([len(episode.actions) for episode in episodes])),
        }
        figures = [smoothness(np.stack(episode.actions), self.task.dt) for episode in episodes]
        row |= {name: _mean(each[name] for each in figures) for name in figures[0]}
        own = {name: _mean(episode.metrics.get(name) for episode in episodes) for name in self.task.metrics}
        row["success_rate"] = own.get("success")
        row["value_error_rel_l2"] = self._value_error(agent, episodes)
        return row | own

    def _value_error(self, agent: Agent, episodes: list[_Episode]) -> float | None:
        value = getattr(agent, "value", None)
        if self.task.optimal_value is None or value is None:
            return None
        states = np.concatenate([np.stack(episode.visited) for episode in episodes])
        states = states[:: math.ceil(len(states) / VALUE_STATES)]
        return relative_l2(np.asarray(value(states)), self.task.optimal_value(states))


def at_intervals(
    task: Task, agent: Agent, factors: Sequence[float], n_episodes: int, seed: int
) -> Iterator[dict[str, float | None]]:
    """Evaluate a trained policy at multiples of the task's dt, on the same episodes each; yields a row per factor."""
    for factor in factors:
        other = dataclasses.replace(task, dt=task.dt * factor)
        evaluator = Evaluator(other, n_episodes, derive_seed(seed, "intervals"))
        yield {"dt_factor": factor, "dt": other.dt, **evaluator.evaluate(agent)}
        evaluator.close()


class _Episode:
    """One evaluation episode in progress."""

    def __init__(self, env: Any, seed: int) -> None:
        self.env = env
        self.obs, _ = env.reset(seed=seed)
        self.total = 0.0
        self.over = False
        self.actions: list[np.ndarray] = []
        self.visited: list[np.ndarray] = []
        self.metrics: dict[str, float | None] = {}

    def step(self, action: Any) -> None:
        action = checked_action(action, self.env.action_space.shape)
        self.visited.append(self.obs)
        self.actions.append(action)
        self.obs, reward, terminated, truncated, info = self.env.step(action)
        self.total += float(reward)
        self.over = terminated or truncated
        if self.over:
            self.metrics = info.get("episode_metrics", {})


def _returns(episodes: Sequence[_Episode]) -> np.ndarray:
    return np.array([episode.total for episode in episodes])


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of what an episode defines (a time to complete needs a completion); None where no episode does."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None
