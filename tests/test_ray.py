"""Runs on Ray end as they do here, and what a node must have is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hjbbench.errors import UserError
from hjbbench.executors import run_local
from hjbbench.ray_executor import _demand, run_ray
from hjbbench.spec import RunSpec
from tests.torture import suite

ray = pytest.importorskip("ray")


def test_local_ray_equals_local_processes(tmp_path: Path) -> None:
    specs = [RunSpec("unit", "oracle/oscillator", "random", seed, 200, 3, 1, 60.0) for seed in range(2)]
    events: list[dict] = []
    assert run_ray(specs, tmp_path / "ray", None, 1, lambda spec, event: events.append(event)) == {"done": 2}
    assert sum("started" in event for event in events) == sum("status" in event for event in events) == 2
    assert run_local(specs, tmp_path / "local", 2, lambda spec, event: None) == {"done": 2}
    assert suite.results(tmp_path / "ray") == suite.results(tmp_path / "local")
    assert not list((tmp_path / "ray").rglob("running.lock"))


def test_demand_is_what_the_agent_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"Alive": True, "Resources": {"CPU": 1.0, "memory": 9e9, "GPU": 1.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [node])
    on_cpu = RunSpec("unit", "oracle/oscillator", "diffusion-hjb", 0, 10, 1, 1, 60.0)
    on_gpu = RunSpec("unit", "oracle/oscillator", "diffusion-hjb", 0, 10, 1, 1, 60.0, overrides={"device": "cuda"})
    assert _demand(on_cpu) == {"num_cpus": 1, "num_gpus": 0.0, "memory": 4e9}
    assert 0 < _demand(on_gpu)["num_gpus"] <= 0.5  # several runs share one
    large = RunSpec("unit", "oracle/oscillator", "random", 0, 10, 1, 1, 60.0, memory_limit_mb=10_000)
    with pytest.raises(UserError, match="no node of the cluster has 1 core"):
        _demand(large)
    node["Resources"].pop("GPU")  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="GPU"):
        _demand(on_gpu)


def test_unreachable_cluster_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--address: 127\.0\.0\.1:1 does not answer"):
        run_ray([], tmp_path, "127.0.0.1:1", None, lambda spec, event: None)
