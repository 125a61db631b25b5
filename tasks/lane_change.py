"""Change lanes on a busy motorway: continuous throttle and steering in highway-env."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from hjbbench.errors import UserError
from hjbbench.protocol import Reference, Task
from hjbbench.registry import add_task

DT = 0.1
HORIZON_S = 15.0
FRAMES = {1 / 20: 1, 1 / 10: 2, 1 / 5: 4, 1 / 4: 5, 1 / 2: 10, 1.0: 20}
"""Frames of 1/20 s per decision for every dt the plant can be sampled at, in seconds."""
ROAD_POSITION, CLEARANCE = 1, 6


def make(dt: float | None = None, render_mode: str | None = None) -> gym.Env:
    """The lane change with decisions every ``dt`` seconds; raises UserError unless the frame rate is a multiple."""
    dt = DT if dt is None else dt
    if dt not in FRAMES:
        raise UserError(f"dt is {dt} s; highway/lane-change allows {', '.join(f'{s:g}' for s in FRAMES)}")
    from tasks.highway.env import LaneChangeEnv

    return LaneChangeEnv(FRAMES[dt], HORIZON_S, render_mode)


def terminated(obs: Any, action: Any, next_obs: Any) -> Any:
    """Off the road or crashed, from the lateral road position and the clearance; numpy arrays or torch tensors."""
    return (abs(next_obs[..., ROAD_POSITION]) > 1.0) | (next_obs[..., CLEARANCE] <= 0.0)


add_task(
    Task(
        name="highway/lane-change",
        make=make,
        dt=DT,
        horizon_s=HORIZON_S,
        discount_rate=0.1,  # a horizon of 10 s, two lane changes of the 5 s UN Regulation 79 grants; 0.99 per 0.1 s
        # Driving on safely in the wrong lane returns -16.2. Half of the way from there to the reference; gap acceptance
        # that asks for half a second of headway both ways; the reference itself.
        targets=(-11.5, -8.7, -6.8),
        reference=Reference(
            random=-53.2,
            reference=-6.8,
            provenance="means over 400 episodes, reset seeds 20000-20399, dt 0.1 s, standard errors 0.5 and 0.2: "
            "uniformly random actions; the agent scripted, fitted on the other seeds 50000-50023",
        ),
        terminated=terminated,
        metrics=(
            "success",
            "collision",
            "off_road",
            "time_to_complete_s",
            "a_lon_peak_m_per_s2",
            "a_lon_rms_m_per_s2",
            "a_lat_peak_m_per_s2",
            "a_lat_rms_m_per_s2",
            "r79_lateral_jerk_m_per_s3",
            "ttc_min_s",
            "induced_braking_m_per_s2",
        ),
    )
)
