"""How fast the baselines learn on one core, beside Stable-Baselines3's SAC in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger

from baselines.soft_actor_critic import SoftActorCritic, SoftActorCriticConfig
from hjbbench.registry import get_agent, get_task

BATCH = 256
TASK = "locomotion/half-cheetah"


def best_seconds(work: Callable[[], object], seconds: float) -> float:
    """Least seconds of the core that a call takes: what other processes take of it in between does not count."""
    work()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.thread_time()
        work()
        best = min(best, time.thread_time() - began)
    return best


def filled(name: str, n: int) -> Any:
    """An agent on the half-cheetah with n random transitions in its buffer."""
    task, entry = get_task(TASK), get_agent(name)
    env = task.make()
    agent = entry.factory(task, env, entry.config, 0)
    agent.fuse()
    env.action_space.seed(0)
    obs, _ = env.reset(seed=0)
    for _ in range(n):
        action = env.action_space.sample()
        next_obs, reward, terminated, truncated, _ = env.step(action)
        agent.replay.append(obs, action, next_obs, float(reward), bool(terminated))
        obs = env.reset()[0] if terminated or truncated else next_obs
    return agent


def sac_update_rates(width: int, seconds: float = 6.0) -> dict[str, float]:
    """SAC updates per second at two hidden layers of ``width``, batch 256, sampling included: {"ours", "sb3"}."""
    agent = filled("sac-caps", 1000)
    rng = np.random.default_rng(0)
    learner = SoftActorCritic(17, 6, SoftActorCriticConfig(0.99, -6.0, (width, width)))
    learner.fuse()
    theirs = SAC("MlpPolicy", get_task(TASK).make(), policy_kwargs={"net_arch": [width, width]}, device="cpu")
    theirs.set_logger(Logger(None, []))
    assert theirs.replay_buffer is not None
    for _ in range(1000):
        obs, next_obs, action = rng.normal(size=(1, 17)), rng.normal(size=(1, 17)), rng.uniform(-1, 1, (1, 6))
        theirs.replay_buffer.add(obs, next_obs, action, rng.normal(size=1), np.zeros(1), [{}])

    def ours() -> None:
        for _ in range(10):
            learner.update(agent.replay.sample(BATCH))

    times = {"ours": float("inf"), "sb3": float("inf")}
    for _ in range(10):  # in turns, so that load hits both alike
        times["ours"] = min(times["ours"], best_seconds(ours, seconds / 20))
        times["sb3"] = min(times["sb3"], best_seconds(lambda: theirs.train(10, BATCH), seconds / 20))
    return {name: 10 / value for name, value in times.items()}


def mbpo_model_share(n: int = 5000, updates_per_step: int = 20) -> dict[str, float]:
    """Share of an MBPO run spent on its model around decision n: {"share", "epochs"}, the third warm refit timed."""
    agent = filled("mbpo", n)
    agent._fit_model(first=True)
    every = agent.original.model_every
    new = filled("mbpo", 3 * every).replay
    for refit in range(3):
        agent.replay.extend(new.split(new.rows[refit * every : (refit + 1) * every]))
        began = time.thread_time()
        epochs = agent._fit_model(first=False)["model_epochs"]
        agent._imagine(1)
        model_s = time.thread_time() - began
    update_s = best_seconds(lambda: agent.learner.update(agent.imagined.sample(BATCH)), 2.0)
    return {"share": model_s / (model_s + every * updates_per_step * update_s), "epochs": epochs}


def dhmbpo_step_ms(name: str = "dhmbpo", seconds: float = 6.0) -> dict[str, float]:
    """Milliseconds of learning per decision and its parts: {"step", "model", "starts", "update"}."""
    agent = filled(name, 2000)
    agent.model.calibrate(agent.replay.all)
    config = agent.config
    parts = {
        "model": best_seconds(lambda: agent.model.fit(agent.replay.all, config.model_batch), seconds / 3),
        "starts": best_seconds(agent._choose_starts, seconds / 3) / config.start_every,
        "update": best_seconds(agent._update, seconds / 3),
    }
    return {name: 1000 * value for name, value in (parts | {"step": sum(parts.values())}).items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for width in (256, 128):
        print(width, sac_update_rates(width))
    print(dhmbpo_step_ms())
    print(dhmbpo_step_ms("dhmbpo-lite"))
    print(mbpo_model_share())
