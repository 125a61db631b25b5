"""Who drives on the road: cars whose answer to a lane change nobody can see beforehand, and where they start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from highway_env.road.road import Road
from highway_env.vehicle.kinematics import Vehicle

from tasks.highway.traffic import LANE_WIDTH, FastIDMVehicle, clip

YIELDING, NEUTRAL, BLOCKING = "yielding", "neutral", "blocking"
INTENTS = (YIELDING, NEUTRAL, BLOCKING)  # equally likely

NOTICE_M = 0.25, 0.75
"""Metres the ego has moved towards a driver's lane when the driver starts to respond, and when fully."""
ATTENTION_M = 0.0, 5.0, 40.0, 60.0
"""Distances of the ego ahead of the driver between which the response rises to its full size, and falls again."""
YIELDING_ACCELERATION = -2.0  # m/s², MOBIL's own idea of braking one may ask of others
BLOCKING_ACCELERATION = 3.0  # m/s², IDM's acceleration on an empty road


class Intent:
    """Mixed into an IDM vehicle: how it treats an ego that drifts from the next lane towards its own.

    A neutral driver is highway-env's: it brakes for the ego once that is within a metre of its lane. A yielding one
    brakes gently as soon as it sees the drift. A blocking one closes the gap, and brakes only for an ego whose centre
    is in its lane. The response fades in with the drift and the distance: a small move of the ego changes little.
    """

    ego: Vehicle
    intent: str

    def act(self: Any, action: Any = None) -> None:
        super().act(action)  # type: ignore[misc]
        if self.intent == NEUTRAL or self.crashed or not (response := self.response()):
            return
        own = self.action["acceleration"]
        if self.intent == YIELDING:
            wanted = min(own, YIELDING_ACCELERATION)
        else:
            front, _ = self.road.neighbour_vehicles(self, self.lane_index)
            if front is self.ego:  # look past it
                front, _ = self.road.neighbour_vehicles(self.ego, self.lane_index)
            wanted = clip(self.acceleration(self, front) + BLOCKING_ACCELERATION, -self.ACC_MAX, BLOCKING_ACCELERATION)
        self.action["acceleration"] = own + response * (wanted - own)

    def response(self: Any) -> float:
        """How much the driver acts on its intent, from 0 to 1."""
        ahead = self.ego.position.item(0) - self.position.item(0)
        drift = LANE_WIDTH - abs(self.ego.position.item(1) - self.lane_index[2] * LANE_WIDTH)
        if drift > LANE_WIDTH / 2:  # the ego is in this driver's lane
            return 0.0
        beside, ahead_of, near, far = ATTENTION_M
        noticed = clip((drift - NOTICE_M[0]) / (NOTICE_M[1] - NOTICE_M[0]), 0.0, 1.0)
        attention = min((ahead - beside) / (ahead_of - beside), (far - ahead) / (far - near))
        return noticed * clip(attention, 0.0, 1.0)


class Driver(Intent, FastIDMVehicle):
    """One car of the traffic."""

    TIME_WANTED = 1.0
    """Seconds of headway on a busy motorway (Treiber & Kesting, Traffic Flow Dynamics, 2013, table 11.2); with
    highway-env's 1.5 s almost every lane change makes the next driver brake hard."""


@dataclass(frozen=True)
class LaneTraffic:
    """The cars of one lane at the start of an episode."""

    n_behind: int
    n_ahead: int
    gap_m: tuple[float, float] = (40.0, 75.0)
    """Range of the distances between cars, centre to centre."""
    ego_gap_m: tuple[float, float] = (40.0, 75.0)
    """Range of the gap the ego drives in, or beside."""
    ego_share: tuple[float, float] = (0.0, 1.0)
    """Range of the ego's place in that gap: 0 level with the car behind, 1 with the car ahead."""


# Ten cars. A lane change takes about 20 m each way, so some of the target lane's gaps are open and some are not.
OWN_LANE = LaneTraffic(n_behind=1, n_ahead=2, ego_gap_m=(80.0, 140.0), ego_share=(0.4, 0.6))
TARGET_LANE = LaneTraffic(n_behind=2, n_ahead=2, gap_m=(28.0, 60.0), ego_gap_m=(28.0, 60.0))
OTHER_LANE = LaneTraffic(n_behind=1, n_ahead=2)
FLOW_SPEED = 21.0, 25.0  # m/s, common to the scene
LANE_SPEED_SPREAD = 1.0  # m/s, standard deviation between lanes
CAR_SPEED_SPREAD = 0.5  # m/s, standard deviation between the cars of a lane
SPEED_RESERVE = 1.0, 5.0  # m/s a driver would go faster than the flow on an empty road


def add_traffic(
    road: Road, ego: Vehicle, target_lane: int, rng: np.random.Generator, vehicle_class: type = Driver
) -> None:
    """Put cars ahead of, beside and behind the ego on every lane, each with a hidden intent."""
    flow = rng.uniform(*FLOW_SPEED)
    for lane in range(len(road.network.lanes_list())):
        traffic = OWN_LANE if lane == ego.lane_index[2] else TARGET_LANE if lane == target_lane else OTHER_LANE
        gap, share = rng.uniform(*traffic.ego_gap_m), rng.uniform(*traffic.ego_share)
        behind = gap * share + np.cumsum([0.0, *rng.uniform(*traffic.gap_m, traffic.n_behind - 1)])
        ahead = gap * (1.0 - share) + np.cumsum([0.0, *rng.uniform(*traffic.gap_m, traffic.n_ahead - 1)])
        lane_speed = flow + rng.normal(0.0, LANE_SPEED_SPREAD)
        for distance in (*-behind, *ahead):
            speed = lane_speed + rng.normal(0.0, CAR_SPEED_SPREAD)
            wish = speed + rng.uniform(*SPEED_RESERVE)
            car = vehicle_class(road, [ego.position[0] + distance, lane * LANE_WIDTH], speed=speed, target_speed=wish)
            car.ego, car.intent = ego, str(rng.choice(INTENTS))
            car.check_collisions = False  # as in highway-fast-v0: only the ego's collisions end an episode
            road.vehicles.append(car)
