"""The clock: costs, evaluation points, and time that stops while evaluating."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from hjbbench.clock import RunClock, evaluation_points
from hjbbench.seeding import derive_seed


def test_points_are_denser_early_and_end_at_the_budget():
    points = evaluation_points(25_000, 25)
    assert len(points) == 25
    assert points[-1] == 25_000
    gaps = [b - a for a, b in pairwise(points)]
    assert gaps == sorted(gaps)
    assert evaluation_points(3, 25) == (1, 2, 3)


def test_clock_counts_evaluates_and_stops():
    seen, rows = [], []
    clock = RunClock(10, (2, 5, 10), lambda c: seen.append((c.n_steps, c.n_updates, c.t_env_s)), rows.append, dt=0.5)
    while clock.running:
        clock.tick(steps=1, updates=3)
        clock.record({"loss": 0.1})
    assert seen == [(2, 6, 1.0), (5, 15, 2.5), (10, 30, 5.0)]
    assert clock.tick() is False
    assert rows[-1] == {"n_steps": 10, "loss": 0.1}
    for wrong in ({"steps": 2}, {"steps": -1}, {"updates": -1}):
        with pytest.raises(ValueError, match="steps is 0 or 1"):
            clock.tick(**wrong)


def test_evaluation_does_not_count_as_training_time():
    clock = RunClock(1, (1,), lambda c: time.sleep(0.3), lambda row: None, dt=1.0)
    clock.tick(steps=1)
    assert clock.t_eval_s >= 0.3
    assert clock.t_wall_s < clock.t_eval_s


def test_seeds_are_disjoint_by_purpose_and_stable():
    assert derive_seed("locomotion/hopper", 3, "training") == derive_seed("locomotion/hopper", 3, "training")
    parts = [(task, seed, use) for task in "ab" for seed in range(50) for use in ("training", "evaluation", "agent")]
    assert len({derive_seed(*part) for part in parts}) == len(parts)
    assert derive_seed("a", 11) != derive_seed("a1", 1)
