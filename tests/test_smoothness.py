"""Smoothness in physical units does not depend on how often the signal is sampled."""

from __future__ import annotations

import numpy as np
import pytest

from hjbbench.metrics.smoothness import smoothness

DTS = (0.1, 0.05, 0.02, 0.01, 0.005)


def sine(dt: float, duration_s: float = 10.0, frequency_hz: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(0, duration_s, dt))[:, None]


@pytest.mark.parametrize("dt", DTS)
def test_a_sine_has_its_continuous_time_figures(dt):
    figures = smoothness(sine(dt), dt)
    assert figures["action_tv_per_s"] == pytest.approx(4.0, rel=0.10)  # the integral of |2 pi cos| over one second
    assert figures["action_rate_rms_per_s"] == pytest.approx(2 * np.pi / np.sqrt(2), rel=0.10)
    assert figures["action_jerk_rms_per_s2"] == pytest.approx((2 * np.pi) ** 2 / np.sqrt(2), rel=0.10)
    assert figures["action_mean_freq_hz"] == pytest.approx(1.0, rel=0.10)
    assert figures["action_highfreq_share"] < 0.01


def test_caps_score_follows_its_formula_and_depends_on_dt():
    # By hand for a pure tone: one bin of magnitude 1 at f of f_s/2, averaged over N/2 bins.
    figures = smoothness(sine(0.05), 0.05)
    n_bins = 100
    assert figures["sm_caps"] == pytest.approx(1.0 * (10 / (n_bins - 1)) / n_bins, rel=1e-6)
    assert figures["sm_caps"] > 10 * smoothness(sine(0.005), 0.005)["sm_caps"]


def test_high_frequencies_are_told_apart():
    assert smoothness(sine(0.02, frequency_hz=5.0), 0.02)["action_highfreq_share"] > 0.99


def test_constant_actions_are_perfectly_smooth():
    figures = smoothness(np.full((50, 2), 0.3), 0.1)
    assert list(figures.values()) == pytest.approx([0.0] * len(figures), abs=1e-12)


def test_short_episodes_have_no_figure_rather_than_a_wrong_one():
    assert all(np.isnan(value) for value in smoothness(np.zeros((1, 2)), 0.1).values())
    two = smoothness(np.array([[0.0], [0.5]]), 0.1)
    assert two["action_rate_rms_per_s"] == pytest.approx(5.0)
    assert np.isnan(two["action_jerk_rms_per_s2"])
    assert np.isnan(two["action_mean_freq_hz"])


def test_figures_scale_with_the_amplitude():
    small, large = smoothness(0.1 * sine(0.05), 0.05), smoothness(sine(0.05), 0.05)
    for name in ("action_tv_per_s", "action_rate_rms_per_s", "action_jerk_rms_per_s2", "sm_caps"):
        assert large[name] == pytest.approx(10 * small[name])
    assert large["action_mean_freq_hz"] == pytest.approx(small["action_mean_freq_hz"])
