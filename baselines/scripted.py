"""A lane change as a textbook drives it: gap acceptance, car following and proportional-derivative steering."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from hjbbench.protocol import Clock, Task
from hjbbench.registry import agent

# How the observation of highway/lane-change is written (tasks/highway/observation.py).
LANE_WIDTH, SENSING_RANGE_M, TARGET_SPEED, SPEED_SCALE = 4.0, 80.0, 25.0, 10.0
MAX_ACCELERATION, MAX_STEERING = 5.0, 0.05
CAR_LENGTH = 5.0
N_OWN = 7  # numbers about the ego; behind them six slots of three


@dataclass(frozen=True)
class ScriptedConfig:
    """Fitted by random search for the return over 24 episodes of highway/lane-change (reset seeds 50000-50023)."""

    front_gap_s: float = 0.2
    """Headway to the car ahead in the target lane that is accepted, in s of the ego's speed."""
    rear_gap_s: float = 0.15
    """Headway of the car behind in the target lane that is accepted, in s of its speed."""
    closing_s: float = 1.5
    """Seconds of closing speed added to either."""
    commitment: float = 0.5
    """How much of the wanted gap is waived when the ego has reached the target lane's edge."""
    lateral_s: float = 1.75
    """Time constant of the lateral offset."""
    lateral_speed: float = 2.5
    """Limit of the lateral speed, m/s."""
    heading_s: float = 0.9
    """Time constant of the heading error."""
    speed_s: float = 4.3
    """Time constant of the speed error."""
    following_s: float = 1.2
    """Headway to the car ahead, s."""
    slide_acceleration: float = 1.9
    """Used to slide along the target lane towards a gap, m/s²."""


@agent(
    "scripted",
    config=ScriptedConfig(),
    refuses=lambda task: None if task.name == "highway/lane-change" else "scripted drives highway/lane-change only",
)
class Scripted:
    """Gap acceptance and PD steering for the lane change, learning nothing."""

    def __init__(self, task: Task, env: gym.Env, config: ScriptedConfig, seed: int) -> None:
        self.config = config

    def learn(self, env: gym.Env, clock: Clock) -> None:
        obs, _ = env.reset()
        while clock.running:
            obs, _, terminated, truncated, _ = env.step(self.act(obs))
            clock.tick(steps=1)
            if terminated or truncated:
                clock.checkpoint()
                obs, _ = env.reset()

    def act(self, obs: np.ndarray, *, deterministic: bool = True) -> np.ndarray:
        """Throttle and steering (..., 2) for observations (..., 25)."""
        config = self.config
        scene = Scene(np.asarray(obs, dtype=float))
        wanted_share = 1.0 - config.commitment * np.clip((LANE_WIDTH - scene.to_go) / (LANE_WIDTH / 2), 0.0, 1.0)
        front_wanted = config.front_gap_s * scene.speed + config.closing_s * np.maximum(-scene.front_speed, 0.0)
        rear_wanted = config.rear_gap_s * scene.speed + config.closing_s * np.maximum(scene.rear_speed, 0.0)
        front_open = scene.front_gap > wanted_share * front_wanted
        rear_open = scene.rear_gap > wanted_share * rear_wanted
        go = front_open & rear_open

        offset = np.where(go, scene.to_target, scene.to_target - np.sign(scene.to_target) * LANE_WIDTH)
        lateral_speed = np.clip(offset / config.lateral_s, -config.lateral_speed, config.lateral_speed)
        speed = np.maximum(scene.speed, 5.0)  # below it steering hardly turns the car
        yaw_rate = (lateral_speed / speed - scene.heading) / config.heading_s
        steering = CAR_LENGTH * yaw_rate / speed / MAX_STEERING

        cruise = (TARGET_SPEED - scene.speed) / config.speed_s
        slide = np.where(front_open, config.slide_acceleration, -config.slide_acceleration)
        wish = np.where(go, cruise, np.where(rear_open | front_open, slide, -config.slide_acceleration))
        keep = self._follow(scene.speed, scene.own_gap, scene.own_speed)
        merge = self._follow(scene.speed, scene.front_gap, scene.front_speed)
        throttle = np.minimum(np.minimum(wish, keep), np.where(go, merge, np.inf)) / MAX_ACCELERATION
        return np.clip(np.stack([throttle, steering], axis=-1), -1.0, 1.0).astype(np.float32)

    def _follow(self, speed: np.ndarray, gap: np.ndarray, relative_speed: np.ndarray) -> np.ndarray:
        """Acceleration in m/s² that brings the headway to its wish and the speed to that of the car ahead."""
        room = gap - self.config.following_s * speed
        return room / self.config.following_s / self.config.speed_s + relative_speed / self.config.following_s

    def save(self, path: Path) -> None:
        torch.save(asdict(self.config), path)

    def load(self, path: Path) -> None:
        self.config = ScriptedConfig(**torch.load(path, weights_only=True))


class Scene:
    """The observation in metres and seconds; relative speeds are the other car's minus the ego's.

    The target lane's cars move from a side slot to the own slots as the ego moves over: from then on the nearer counts.
    """

    def __init__(self, obs: np.ndarray) -> None:
        self.to_target = -LANE_WIDTH * obs[..., 0]
        self.to_go = np.abs(self.to_target)
        self.heading = obs[..., 2] / 10.0
        self.speed = TARGET_SPEED + SPEED_SCALE * obs[..., 3]
        slots = obs[..., N_OWN:].reshape(*obs.shape[:-1], 2, 3, 3)
        ahead, behind = slots[..., 0, :, :], slots[..., 1, :, :]
        self.own_gap, self.own_speed = decode(ahead[..., 1, :])
        self.front_gap, self.front_speed = decode(self._target(ahead))
        self.rear_gap, self.rear_speed = decode(self._target(behind))

    def _target(self, slots: np.ndarray) -> Any:
        """The slot (..., 3) of the target lane among left, own and right (..., 3, 3)."""
        right = self.to_target[..., None] > 0.0
        side = np.where(right, slots[..., 2, :], slots[..., 0, :])
        own = slots[..., 1, :]
        arrived = self.to_go < 0.5
        entered = self.to_go < 3.0
        use_own = arrived | (entered & (own[..., 0] > side[..., 0]))
        return np.where(use_own[..., None], own, side)


def decode(slot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gap between bumpers in m and relative speed in m/s of a slot (..., 3); an empty one is far away."""
    near = np.clip(slot[..., 0], 0.0, 1.0)
    gap = SENSING_RANGE_M * (1.0 - np.sqrt(near)) - CAR_LENGTH
    return gap, SPEED_SCALE * slot[..., 1] / np.maximum(near, 1e-3)
