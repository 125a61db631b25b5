"""The machine's speed is measured in every run, and times of unlike speeds are not said to compare."""

from __future__ import annotations

import pytest

from hjbbench.runner import execute
from hjbbench.spec import RunSpec
from hjbbench.speed import speed_gflops, why_times_differ
from hjbbench.store import read_record

HERE = {"system": "Linux", "cpu": "one", "n_cores": 2}


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([(HERE, 80.0), (HERE, 70.0)], ""),
        ([(HERE, 80.0), (HERE, 40.0)], "the machine was between 40 and 80 GFLOP/s fast"),
        ([(HERE, 80.0), (HERE, None)], "how fast the machine was is not recorded for 1 of 2 runs"),
        ([(HERE, 80.0), (HERE | {"n_cores": 4}, 80.0)], "the runs come from 2 different machines"),
    ],
)
def test_times_compare_on_one_machine_at_one_speed(records, why):
    assert why_times_differ([{"machine": machine, "speed_gflops": speed} for machine, speed in records]) == why


def test_runs_from_before_speeds_were_recorded_are_of_unknown_speed():
    assert "2 of 2 runs" in why_times_differ([{"machine": HERE}, {"machine": HERE}])


def test_a_run_records_its_speed(tmp_path):
    spec = RunSpec("unit", "control/pendulum", "random", 0, 60, 3, 1, 60.0)
    assert execute(spec, tmp_path, lambda event: None) == "done"
    measured, now = read_record(tmp_path / "run.json")["speed_gflops"], speed_gflops()
    assert measured > 0.0
    assert 0.02 < measured / now < 50.0  # of the same machine, however busy
