"""An agent of a third party: proportional feedback, and ways to fail for the harness's own tests."""

from __future__ import annotations

import ctypes
import os
import time
from dataclasses import dataclass

import numpy as np
import torch

from hjbbench.registry import agent


@dataclass(frozen=True)
class ProportionalConfig:
    gain: float = 1.0
    """Action per unit of x."""
    fault: str = ""
    """raise | nan | kill | segfault | hang | leak | miscount | early, after 50 decisions; pause at each."""


def refuses(task):
    return None if task.name == "example/integrator" else "one state and one action only"


@agent("proportional", config=ProportionalConfig(), refuses=refuses)
class Proportional:
    """Proportional feedback."""

    def __init__(self, task, env, config, seed):
        self.config = config
        self.rng = np.random.default_rng(seed)

    def learn(self, env, clock):
        obs, _ = env.reset()
        while clock.running:
            action = self.act(obs) + 0.1 * self.rng.standard_normal(1)
            if self.config.fault == "pause":
                time.sleep(0.01)
            if clock.n_steps == 50:
                if self.config.fault == "early":
                    return
                action = self.fail(action, env)
            obs, _, terminated, truncated, _ = env.step(action)
            clock.tick(steps=1, updates=1)
            clock.record({"obs": float(obs[0])})
            if terminated or truncated:
                clock.checkpoint()
                obs, _ = env.reset()

    def fail(self, action, env):
        match self.config.fault:
            case "raise":
                raise ArithmeticError("a fault of the example")
            case "nan":
                return action * np.nan
            case "kill":
                os.kill(os.getpid(), 9)
            case "segfault":
                ctypes.string_at(0)
            case "hang":
                time.sleep(600)
            case "leak":
                hoard = []
                while True:
                    hoard.append(np.ones(2_000_000))
                    time.sleep(0.01)
            case "miscount":
                env.step(action)
        return action

    def act(self, obs, *, deterministic=True):
        return np.clip(-self.config.gain * obs, -1, 1)

    def save(self, path):
        torch.save({"rng": self.rng.bit_generator.state}, path)

    def load(self, path):
        self.rng.bit_generator.state = torch.load(path, weights_only=True)["rng"]
