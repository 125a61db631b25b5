"""Bring a stored policy back: evaluate it again, at other rates too, or film it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from hjbbench.errors import UserError, told
from hjbbench.evaluation import at_intervals
from hjbbench.protocol import Agent, Task
from hjbbench.registry import get_agent, get_task
from hjbbench.seeding import derive_seed
from hjbbench.spec import configure
from hjbbench.store import read_run


def restore(directory: Path) -> tuple[Task, Agent, dict[str, Any]]:
    """The task, the trained agent and run.json of a run kept with --keep-policy, else UserError."""
    run = read_run(directory)
    if run is None:
        raise UserError(f"{directory}: no run here (run.json is missing)")
    checkpoint = directory / "checkpoint.pt"
    if not checkpoint.exists():
        raise UserError(f"{directory}: no policy was kept; run it with --keep-policy and another --out")
    record = run.record
    task = dataclasses.replace(get_task(record["task"]), dt=record["dt"])
    entry = get_agent(record.get("variant_of") or record["agent"])
    agent = entry.factory(task, task.make(dt=task.dt), configure(entry, record["config"]), record["seed"])
    try:
        agent.load(checkpoint)
    except Exception as problem:  # whatever a damaged file, or one of other code, makes of an agent
        cause = f"{type(problem).__name__}: {told(problem)}"
        raise UserError(f"{checkpoint}: {record['agent']} cannot load it: {cause}") from None
    return task, agent, record


def evaluate(directory: Path, dt_factors: Sequence[float], n_episodes: int) -> list[dict[str, Any]]:
    """Evaluate a kept policy at multiples of its dt, in the episodes of a suite's ``dt_factors``; one row each."""
    task, agent, record = restore(directory)
    return list(at_intervals(task, agent, dt_factors, n_episodes, record["seed"]))


def _picture(env: gym.Env, task: Task) -> np.ndarray:
    try:
        picture = np.asarray(env.render())
    except NotImplementedError:
        picture = np.empty(0)
    if picture.ndim != 3:
        raise UserError(f"{task.name}: its environment draws no picture for render_mode 'rgb_array'")
    return picture


def film(directory: Path, target: Path, seed: int = 0) -> float:
    """Write one episode of a kept policy as a GIF in real time (at most 25 pictures a second); returns its return."""
    import imageio

    task, agent, _ = restore(directory)
    env = task.make(dt=task.dt, render_mode="rgb_array")
    every = max(1, round(0.04 / task.dt))
    obs, _ = env.reset(seed=derive_seed(task.name, seed, "film"))
    frames, total, over = [], 0.0, False
    while not over:
        frames.append(_picture(env, task))
        for _ in range(every):
            obs, reward, terminated, truncated, _ = env.step(agent.act(obs))
            total += float(reward)
            over = terminated or truncated
            if over:
                break
    env.close()
    imageio.mimsave(target, frames, duration=1000 * every * task.dt, loop=0)  # type: ignore[arg-type]
    return total
