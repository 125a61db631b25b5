"""highway-env's road and vehicles, made faster without changing what they do.

Every method here overrides a method of highway-env 1.12 with the same formula in plain floats, on the one geometry the
task has: parallel lanes along x, no objects on them. tests/test_lane_change.py holds the trajectories equal.
"""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
from highway_env.road.lane import LineType, StraightLane
from highway_env.road.road import LaneIndex, Road, RoadNetwork
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle

LANE_WIDTH = StraightLane.DEFAULT_WIDTH
ROAD_LENGTH = 10_000.0
SPEED_LIMIT = 30.0
NEIGHBOUR_MARGIN = 1.0
"""Metres beside a lane within which highway-env still counts a vehicle as being on it."""


def clip(value: float, low: float, high: float) -> float:
    """numpy.clip of one float, without the array machinery."""
    return min(max(value, low), high)


def not_zero(value: float) -> float:
    """Keep a divisor at least 0.01 away from zero, as highway-env's utils.not_zero."""
    return value if abs(value) > 1e-2 else math.copysign(1e-2, value)


class Lane(StraightLane):
    """A straight lane along x."""

    def local_coordinates(self, position: np.ndarray) -> tuple[float, float]:
        return position.item(0) - self.start.item(0), position.item(1) - self.start.item(1)


class Network(RoadNetwork):
    """Parallel lanes along x, lane i at y = i LANE_WIDTH, all between the nodes "0" and "1"."""

    def __init__(self, n_lanes: int) -> None:
        super().__init__()
        self.n_lanes = n_lanes
        for i in range(n_lanes):
            sides = (
                LineType.CONTINUOUS_LINE if i == 0 else LineType.STRIPED,
                LineType.CONTINUOUS_LINE if i == n_lanes - 1 else LineType.NONE,
            )
            ends = [0.0, i * LANE_WIDTH], [ROAD_LENGTH, i * LANE_WIDTH]
            self.add_lane("0", "1", Lane(*ends, line_types=sides, speed_limit=SPEED_LIMIT))

    def get_closest_lane_index(self, position: np.ndarray, heading: float | None = None) -> LaneIndex:
        nearest = math.ceil(position.item(1) / LANE_WIDTH - 0.5)  # on a line between two lanes: the left one
        return "0", "1", min(max(nearest, 0), self.n_lanes - 1)


class FastRoad(Road):
    """A road that sorts its vehicles once per frame instead of searching them once per question."""

    _lanes: list[tuple[list[float], list[Vehicle]]] | None = None

    def act(self) -> None:
        self._lanes = None  # whoever moved a vehicle since the last frame
        super().act()

    def step(self, dt: float) -> None:
        for vehicle in self.vehicles:
            vehicle.step(dt)
        self._lanes = None
        for i, vehicle in enumerate(self.vehicles):
            others = self.vehicles[i + 1 :]
            for other in others if vehicle.check_collisions else [v for v in others if v.check_collisions]:
                reach = (vehicle.diagonal + other.diagonal) / 2 + vehicle.speed * dt  # beyond it highway-env stops too
                if abs(other.position.item(0) - vehicle.position.item(0)) <= reach:
                    vehicle.handle_collisions(other, dt)

    def neighbour_vehicles(
        self, vehicle: Vehicle, lane_index: LaneIndex | None = None
    ) -> tuple[Vehicle | None, Vehicle | None]:
        if self._lanes is None:
            self._lanes = self._sorted_lanes()
        positions, vehicles = self._lanes[(lane_index or vehicle.lane_index)[2]]
        rear = bisect_left(positions, vehicle.position.item(0))
        front = rear + 1 if rear < len(vehicles) and vehicles[rear] is vehicle else rear
        return vehicles[front] if front < len(vehicles) else None, vehicles[rear - 1] if rear else None

    def _sorted_lanes(self) -> list[tuple[list[float], list[Vehicle]]]:
        """For every lane the vehicles on it, sorted by position along the road."""
        rows = sorted(((*v.position.tolist(), v) for v in self.vehicles), key=lambda row: row[0])
        reach = LANE_WIDTH / 2 + NEIGHBOUR_MARGIN
        lanes = []
        for i in range(self.network.n_lanes):
            on_lane = [(x, v) for x, y, v in rows if abs(y - i * LANE_WIDTH) <= reach]
            lanes.append(([x for x, _ in on_lane], [v for _, v in on_lane]))
        return lanes


def bicycle_step(vehicle: Vehicle, dt: float) -> None:
    """Vehicle.step of highway-env: one explicit Euler step of the kinematic bicycle over dt seconds."""
    vehicle.clip_actions()
    slip = math.atan(0.5 * math.tan(vehicle.action["steering"]))
    speed, course = vehicle.speed, vehicle.heading + slip
    vehicle.position[0] += speed * math.cos(course) * dt
    vehicle.position[1] += speed * math.sin(course) * dt
    if vehicle.impact is not None:
        vehicle.position += vehicle.impact
        vehicle.crashed = True
        vehicle.impact = None
    vehicle.heading += speed * math.sin(slip) / (vehicle.LENGTH / 2) * dt
    vehicle.speed += vehicle.action["acceleration"] * dt
    vehicle.on_state_update()


class FastVehicle(Vehicle):
    """A vehicle that follows given throttle and steering."""

    def step(self, dt: float) -> None:
        bicycle_step(self, dt)


class FastIDMVehicle(IDMVehicle):
    """Traffic: the intelligent driver model along the lane, MOBIL across lanes."""

    def step(self, dt: float) -> None:
        self.timer += dt
        bicycle_step(self, dt)

    def acceleration(
        self, ego_vehicle: Vehicle | None, front_vehicle: Vehicle | None = None, rear_vehicle: Vehicle | None = None
    ) -> float:
        if ego_vehicle is None:
            return 0.0
        target_speed = clip(getattr(ego_vehicle, "target_speed", 0.0), 0.0, ego_vehicle.lane.speed_limit)
        ratio = max(ego_vehicle.speed, 0.0) / abs(not_zero(target_speed))
        acceleration = self.COMFORT_ACC_MAX * (1.0 - ratio**self.DELTA)
        if front_vehicle is not None:
            distance = front_vehicle.position.item(0) - ego_vehicle.position.item(0)
            gap_ratio = self.desired_gap(ego_vehicle, front_vehicle) / not_zero(distance)
            acceleration -= self.COMFORT_ACC_MAX * gap_ratio**2
        return acceleration

    def desired_gap(self, ego_vehicle: Vehicle, front_vehicle: Vehicle, projected: bool = True) -> float:
        speed, front_speed = ego_vehicle.speed, front_vehicle.speed
        if projected:
            front_speed *= math.cos(front_vehicle.heading - ego_vehicle.heading)
        braking = 2.0 * math.sqrt(-self.COMFORT_ACC_MAX * self.COMFORT_ACC_MIN)
        return self.DISTANCE_WANTED + speed * self.TIME_WANTED + speed * (speed - front_speed) / braking

    def steering_control(self, target_lane_index: LaneIndex) -> float:
        lateral = self.position.item(1) - target_lane_index[2] * LANE_WIDTH
        speed = not_zero(self.speed)
        heading_command = math.asin(clip(-self.KP_LATERAL * lateral / speed, -1.0, 1.0))
        error = clip(heading_command, -math.pi / 4, math.pi / 4) - self.heading
        yaw_rate = self.KP_HEADING * ((error + math.pi) % (2 * math.pi) - math.pi)
        slip = math.asin(clip(self.LENGTH / 2 / speed * yaw_rate, -1.0, 1.0))
        steering = math.atan(2.0 * math.tan(slip))
        return clip(steering, -self.MAX_STEERING_ANGLE, self.MAX_STEERING_ANGLE)
