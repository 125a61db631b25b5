"""The lane change: highway-env's road, traffic and bicycle model under a continuous-time reward."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from highway_env.envs.common.abstract import AbstractEnv
from highway_env.envs.common.action import ContinuousAction
from highway_env.envs.common.observation import ObservationType

from tasks.highway.drivers import add_traffic
from tasks.highway.measures import SUCCESS_HEADING_RAD, SUCCESS_OFFSET_M, TTC_CAP_S, EpisodeLog
from tasks.highway.observation import (
    ACCELERATION_SCALE,
    CLEARANCE_SCALE,
    OBS_DIM,
    SPEED_SCALE,
    TARGET_SPEED,
    TOUCHING,
    slots,
)
from tasks.highway.traffic import LANE_WIDTH, SPEED_LIMIT, FastRoad, FastVehicle, Network

FRAME_HZ = 20  # the plant's own step, whatever the decision rate: traffic decides once per frame
N_LANES = 3
ROAD_CENTRE, ROAD_HALF_WIDTH = (N_LANES - 1) / 2 * LANE_WIDTH, N_LANES / 2 * LANE_WIDTH
START_X = 500.0  # far enough from the road's beginning for every car behind the ego
START_SPEED = 20.0, 26.0  # m/s
MAX_ACCELERATION = 5.0  # m/s², highway-env's own throttle range
MAX_STEERING = 0.05  # rad: 6.3 m/s² of lateral acceleration at 25 m/s, where highway-env's pi/4 would be 11 g
CAR_LENGTH, CAR_WIDTH = FastVehicle.LENGTH, FastVehicle.WIDTH

# Weights of the reward rate, in 1/s: the wrong lane costs 0.1 per decision of 0.1 s, a manoeuvre less than that.
W_LANE, W_SPEED, W_ACCELERATION, W_LATERAL, W_BARRIER = 1.0, 1.0, 0.5, 0.5, 4.0
STANDING_GAP_M, HEADWAY_S, CLOSING_S = 2.0, 0.9, 2.0
"""The barrier rises where the follower is closer than STANDING_GAP_M plus HEADWAY_S of its speed plus CLOSING_S of the
closing speed. 0.9 s is half of the half-speedometer rule, where German law starts to fine; 2 s of closing speed is
the way a braking of 2 m/s² needs to take off 8 m/s."""
TERMINAL_COST = 40.0
"""Paid once for a crash or for leaving the road. A whole episode in the wrong lane costs 16; from the worst states a
driver can get into and still get out of, driving on costs less than 30 (the tests hold it there)."""


class Observation(ObservationType):
    """The ego's 25 numbers as a highway-env observation."""

    def space(self) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32)

    def observe(self) -> np.ndarray:
        return self.env.observe()


class LaneChangeEnv(AbstractEnv):
    """Reach the commanded neighbouring lane within 15 s, among ten cars with hidden intents.

    Action (throttle, steering) in [-1, 1], held over a decision. Observation (25,):
    (y - y*)/4, y from the road's centre in half road widths, 10 sin(heading), (v - 25)/10, a/5, steering/0.05,
    clearance/8 in [0, 1] (0 or less: crashed), and six slots of neighbours (see ``observation``).

    Args:
        frames: frames of 1/20 s per decision.
        horizon_s: an episode's length in simulated seconds.
        render_mode: None, "rgb_array" or "human".
    """

    def __init__(self, frames: int, horizon_s: float, render_mode: str | None = None) -> None:
        self.frames = frames
        self.horizon_s = horizon_s
        super().__init__({"simulation_frequency": FRAME_HZ, "policy_frequency": FRAME_HZ / frames}, render_mode)

    def define_spaces(self) -> None:
        limits = {
            "acceleration_range": (-MAX_ACCELERATION, MAX_ACCELERATION),
            "steering_range": (-MAX_STEERING, MAX_STEERING),
            "speed_range": (0.0, FastVehicle.MAX_SPEED),
        }
        self.action_type, self.observation_type = ContinuousAction(self, **limits), Observation(self)
        self.action_space, self.observation_space = self.action_type.space(), self.observation_type.space()

    def update_metadata(self, video_real_time_ratio: float = 1.0) -> None:
        fps = video_real_time_ratio * FRAME_HZ / self.frames
        self.metadata = {"render_modes": ["human", "rgb_array"], "render_fps": fps}

    def _reset(self) -> None:
        rng = self.np_random
        self.road = FastRoad(Network(N_LANES), np_random=rng)
        lane = int(rng.integers(N_LANES))
        self.target_lane = int(rng.choice([i for i in (lane - 1, lane + 1) if 0 <= i < N_LANES]))
        ego = FastVehicle(self.road, [START_X, lane * LANE_WIDTH], speed=rng.uniform(*START_SPEED))
        ego.target_speed = SPEED_LIMIT  # without it MOBIL takes the ego for one that wants to stand still
        self.vehicle = ego
        self.road.vehicles.append(ego)
        add_traffic(self.road, ego, self.target_lane, rng)
        self.steps = 0
        self.log = EpisodeLog(FRAME_HZ, self.horizon_s)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold an action for one decision; a crash or leaving the road ends the episode at its very frame."""
        self.action_type.act(action)
        reward, terminated = 0.0, False
        for _ in range(self.frames):
            self.road.act()
            self.road.step(1 / FRAME_HZ)
            self.steps += 1
            reward += self._reward_rate() / FRAME_HZ
            terminated = self._is_terminated()
            if terminated:
                reward -= TERMINAL_COST
                break
        self.time = self.steps / FRAME_HZ
        truncated = not terminated and self.steps >= self.horizon_s * FRAME_HZ
        info: dict[str, Any] = {}
        if terminated or truncated:
            info["episode_metrics"] = self.log.metrics(self.vehicle.crashed, self._off_road())
        if self.render_mode == "human":
            self.render()
        return self.observe(), reward, terminated, truncated, info

    def observe(self) -> np.ndarray:
        ego, cars = self.vehicle, self._cars()
        clearances = np.maximum(np.abs(cars[:, 0]) - CAR_LENGTH, np.abs(cars[:, 1]) - CAR_WIDTH)
        clearance = float(clearances.min(initial=CLEARANCE_SCALE)) / CLEARANCE_SCALE
        own = (
            (ego.position.item(1) - self.target_lane * LANE_WIDTH) / LANE_WIDTH,
            float(self._road_position()),
            10.0 * math.sin(ego.heading),
            (ego.speed - TARGET_SPEED) / SPEED_SCALE,
            ego.action["acceleration"] / ACCELERATION_SCALE,
            ego.action["steering"] / MAX_STEERING,
            min(clearance, 0.0) if ego.crashed else max(clearance, TOUCHING),
        )
        return np.concatenate([own, slots(cars, ego.speed)], dtype=np.float32)

    def _cars(self) -> np.ndarray:
        """The traffic, (n, 4): x and y from the ego in m, speed along the road in m/s, acceleration in m/s²."""
        x, y = self.vehicle.position.tolist()
        rows = [
            (*car.position.tolist(), car.speed * math.cos(car.heading), car.action["acceleration"])
            for car in self.road.vehicles
            if car is not self.vehicle
        ]
        return np.array(rows).reshape(-1, 4) - (x, y, 0.0, 0.0)

    def _reward_rate(self) -> float:
        """The reward per second in the present state, which it also logs.

        -(w_y (dy/4)² + w_v ((v - 25)/10)² + w_a (a/3)² + w_l (a_lat/3)²) - w_b sum over cars of overlap (1 - gap/safe)²
        where gap < safe, with an overlap that grows from 0 at 1.5 m to 1 at 0 m between the cars' sides.
        """
        ego = self.vehicle
        dy = ego.position.item(1) - self.target_lane * LANE_WIDTH
        a_lon, steering = ego.action["acceleration"], ego.action["steering"]
        a_lat = ego.speed**2 * math.sin(math.atan(0.5 * math.tan(steering))) / (CAR_LENGTH / 2)

        dx, side, speed, acceleration = self._cars().T
        side = np.abs(side) - CAR_WIDTH
        gap = np.maximum(np.abs(dx) - CAR_LENGTH, 0.0)
        closing = np.maximum((ego.speed - speed) * np.sign(dx), 0.0)
        safe = STANDING_GAP_M + HEADWAY_S * np.where(dx > 0.0, ego.speed, speed) + CLOSING_S * closing
        overlap = np.clip(1.0 - side / 1.5, 0.0, 1.0)
        barrier = float(overlap @ np.maximum(1.0 - gap / safe, 0.0) ** 2)

        in_way = (side < 0.0) & (closing > 0.0)
        ttc_s = float((gap[in_way] / closing[in_way]).min(initial=TTC_CAP_S))
        behind = np.flatnonzero((side < 1.0) & (dx < 0.0))  # within a metre of the ego's lane: highway-env's follower
        braking = max(-acceleration[behind[dx[behind].argmax()]], 0.0) if behind.size else 0.0
        in_place = abs(dy) < SUCCESS_OFFSET_M and abs(ego.heading) < SUCCESS_HEADING_RAD
        self.log.add(a_lon, a_lat, ttc_s, braking, in_place)

        costs = W_LANE * (dy / 4.0) ** 2 + W_SPEED * ((ego.speed - TARGET_SPEED) / 10.0) ** 2
        costs += W_ACCELERATION * (a_lon / 3.0) ** 2 + W_LATERAL * (a_lat / 3.0) ** 2
        return -costs - W_BARRIER * barrier

    def _road_position(self) -> np.float32:
        """Lateral position from the road's centre in half road widths, rounded as it is observed."""
        return np.float32((self.vehicle.position.item(1) - ROAD_CENTRE) / ROAD_HALF_WIDTH)

    def _off_road(self) -> bool:
        return bool(abs(self._road_position()) > 1.0)

    def _is_terminated(self) -> bool:
        return self.vehicle.crashed or self._off_road()

    def _info(self, obs: np.ndarray, action: np.ndarray | None = None) -> dict[str, Any]:
        return {}
