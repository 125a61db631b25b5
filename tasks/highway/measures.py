"""What an episode is judged by beside its return: success, safety, comfort, and what it cost the others."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.signal import butter, sosfilt

R79_SAMPLING_HZ = 100
R79_FILTER = butter(4, 0.5, fs=R79_SAMPLING_HZ, output="sos")
R79_WINDOW = R79_SAMPLING_HZ // 2  # 500 ms

SUCCESS_OFFSET_M, SUCCESS_HEADING_RAD, SUCCESS_HOLD_S = 0.3, 0.02, 1.0
TTC_CAP_S = 10.0
"""Reported where nothing is in the way: a cap keeps the mean over episodes finite."""


def lateral_jerk(a_lat: np.ndarray, sampling_hz: int) -> float:
    """Peak lateral jerk in m/s³ as UN Regulation 79, revision 4, measures it for automatic lane changes (limit 5).

    The acceleration (n,) in m/s², constant over each sample, is brought to 100 Hz, low-passed by a 4th-order
    Butterworth filter at 0.5 Hz, differentiated, and averaged over a moving 500 ms.
    """
    signal = np.repeat(a_lat, R79_SAMPLING_HZ // sampling_hz)
    filtered = np.concatenate([np.zeros(R79_WINDOW), sosfilt(R79_FILTER, signal)])  # it drove straight before
    moving_average = (filtered[R79_WINDOW:] - filtered[:-R79_WINDOW]) * R79_SAMPLING_HZ / R79_WINDOW
    return float(np.abs(moving_average).max())


@dataclass
class EpisodeLog:
    """One row per frame of one episode, and the figures computed from it at its end."""

    frame_hz: int
    horizon_s: float
    rows: list[tuple[float, float, float, float, bool]] = field(default_factory=list)

    def add(self, a_lon: float, a_lat: float, ttc_s: float, follower_braking: float, in_place: bool) -> None:
        """Log a frame: accelerations and the follower's deceleration in m/s², time to collision, settled or not."""
        self.rows.append((a_lon, a_lat, ttc_s, follower_braking, in_place))

    def metrics(self, crashed: bool, off_road: bool) -> dict[str, float]:
        """The figures of a finished episode, by the names of the task's ``metrics``."""
        a_lon, a_lat, ttc_s, braking, in_place = np.array(self.rows, dtype=float).T
        hold = round(SUCCESS_HOLD_S * self.frame_hz)
        held = np.convolve(in_place, np.ones(hold))[hold - 1 : len(in_place)] > hold - 0.5  # by its first frame
        completed = bool(held.any())
        return {
            "success": float(completed and not crashed and not off_road),
            "collision": float(crashed),
            "off_road": float(off_road),
            "time_to_complete_s": float(held.argmax() + hold) / self.frame_hz if completed else self.horizon_s,
            "a_lon_peak_m_per_s2": float(np.abs(a_lon).max()),
            "a_lon_rms_m_per_s2": float(np.sqrt(np.mean(a_lon**2))),
            "a_lat_peak_m_per_s2": float(np.abs(a_lat).max()),
            "a_lat_rms_m_per_s2": float(np.sqrt(np.mean(a_lat**2))),
            "r79_lateral_jerk_m_per_s3": lateral_jerk(a_lat, self.frame_hz),
            "ttc_min_s": float(ttc_s.min()),
            "induced_braking_m_per_s2": float(braking.max()),
        }
