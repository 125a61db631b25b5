"""How smooth a sequence of actions is, in physical units, not per decision.

Total variation per second does not depend on the control interval. The other figures do not for smooth actions; where
actions jump, the RMS rate and jerk grow as the interval shrinks, so compare these at equal intervals only.
"""

from __future__ import annotations

import numpy as np

HIGH_FREQUENCY_HZ = 2.0
"""Above this an action's power counts as high-frequency: a driver's or a gait's deliberate motion lies below."""


def smoothness(actions: np.ndarray, dt: float) -> dict[str, float]:
    """Smoothness of one episode's actions (n_steps, action_dim), scaled to [-1, 1] and held for ``dt`` seconds each.

    - action_tv_per_s: total variation per second, sum_k |a_k+1 - a_k|_1 / T [1/s]
    - action_rate_rms_per_s: root of the mean of |a_k+1 - a_k|^2 / dt^2 [1/s]
    - action_jerk_rms_per_s2: the same of the second difference over dt^2 [1/s^2]
    - action_mean_freq_hz: amplitude-weighted mean frequency of the mean-free, Hann-windowed actions [Hz]
    - action_highfreq_share: share of their power above ``HIGH_FREQUENCY_HZ``
    - sm_caps: 2 / (n f_s) sum_i M_i f_i of Mysore et al. (ICRA 2021), comparable only at equal dt and episode length

    A figure that the episode is too short for is NaN; constant actions have no spectrum, their frequency is 0.
    """
    n_steps = len(actions)
    steps = np.diff(actions, axis=0)
    bends = np.diff(actions, n=2, axis=0)
    nan = float("nan")
    figures = {
        "action_tv_per_s": np.abs(steps).sum() / (len(steps) * dt) if len(steps) else nan,
        "action_rate_rms_per_s": np.sqrt((steps**2).sum(1).mean()) / dt if len(steps) else nan,
        "action_jerk_rms_per_s2": np.sqrt((bends**2).sum(1).mean()) / dt**2 if len(bends) else nan,
        "action_mean_freq_hz": nan,
        "action_highfreq_share": nan,
        "sm_caps": nan,
    }
    if n_steps >= 8:  # a shorter window has no spectrum to speak of
        centred = actions - actions.mean(0)
        frequency_hz = np.fft.rfftfreq(n_steps, dt)[:, None]
        amplitude = np.abs(np.fft.rfft(centred * np.hanning(n_steps)[:, None], axis=0))
        power = amplitude**2
        # Below rounding of a constant action there is nothing to take the mean frequency of.
        moving = amplitude.sum() > 1e-9 * n_steps
        figures["action_mean_freq_hz"] = (frequency_hz * amplitude).sum() / amplitude.sum() if moving else 0.0
        high = power[frequency_hz[:, 0] > HIGH_FREQUENCY_HZ].sum()
        figures["action_highfreq_share"] = high / power.sum() if moving else 0.0
        half = n_steps // 2
        magnitude = 2 / n_steps * np.abs(np.fft.fft(actions, axis=0))[:half]
        figures["sm_caps"] = (magnitude * np.linspace(0, 1, half)[:, None]).mean()
    return {name: float(value) for name, value in figures.items()}
