"""What the ego senses: 25 numbers that move smoothly with the scene.

Sorting the neighbours by distance would make the observation jump at every overtaking. Here a car belongs to the six
slots {ahead, behind} x {left, own, right} by weights continuous in its position relative to the ego, everything fades
to zero at the sensing range, and a slot shows a soft maximum over its cars.
"""

from __future__ import annotations

import numpy as np

SENSING_RANGE_M = 80.0
ALONGSIDE_M = 10.0
"""How far past the ego a car still fades out of the slot it came from."""
SHARPNESS = 6
"""Power of the soft maximum: at 6, of two cars 20 and 30 m away the nearer makes up nine tenths of the slot."""
SPEED_SCALE, TARGET_SPEED = 10.0, 25.0  # m/s
ACCELERATION_SCALE = 5.0  # m/s²
CLEARANCE_SCALE = 8.0  # m
TOUCHING = 1e-6
"""The least clearance of an ego that has not crashed, in CLEARANCE_SCALE; 0 and below mean a crash."""

OBS_DIM = 25
ROAD_POSITION, CLEARANCE = 1, 6
SLOTS = slice(7, OBS_DIM)
"""Six slots of (nearness, relative speed, acceleration): ahead left, own, right, then behind left, own, right."""


def lane_weights(lateral: np.ndarray) -> np.ndarray:
    """How much a car at this lateral distance (n,) in metres belongs to the left, own and right slot, (3, n)."""
    offset = np.abs(lateral)
    own = np.clip((3.0 - offset) / 2.0, 0.0, 1.0)
    side = np.clip((offset - 1.0) / 2.0, 0.0, 1.0) * np.clip((7.0 - offset) / 2.0, 0.0, 1.0)
    return np.stack([side * (lateral < 0), own, side * (lateral > 0)])


def slots(cars: np.ndarray, speed: float) -> np.ndarray:
    """The six slots, (18,), from cars (n, 5) of x and y relative to the ego, speed along the road, acceleration.

    Nearness is (1 - d/R)² at d metres, 1 alongside and 0 at the sensing range R; the other two features are the
    cars' mean weighted by nearness^SHARPNESS, times the nearness.
    """
    ahead = np.stack([cars[:, 0], -cars[:, 0]])
    near = np.clip(1.0 - np.maximum(ahead, 0.0) / SENSING_RANGE_M, 0.0, 1.0) ** 2
    near *= np.clip(1.0 + ahead / ALONGSIDE_M, 0.0, 1.0)
    weights = (near[:, None, :] * lane_weights(cars[:, 1])).reshape(6, -1) ** SHARPNESS
    total = weights.sum(axis=1)
    nearness = total ** (1.0 / SHARPNESS)
    share = (nearness / np.maximum(total, 1e-12))[:, None] * weights
    features = np.stack([(cars[:, 2] - speed) / SPEED_SCALE, cars[:, 3] / ACCELERATION_SCALE], axis=1)
    return np.column_stack([nearness, share @ features]).ravel()
