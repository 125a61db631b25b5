"""Three Ray nodes on this machine, one of which dies in the middle of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hjbbench.executors import run_local
from hjbbench.ray_executor import run_ray
from hjbbench.spec import RunSpec
from tests.torture import suite

SETTINGS = {"batch_size": 16, "net_arch": [32, 32]}


def lose_a_node(folder: Path, n_runs: int = 6, n_steps: int = 1500) -> tuple[dict[str, int], list[str]]:
    """How the runs on the cluster ended, and which of their files differ from those of local runs."""
    from ray.cluster_utils import Cluster

    specs = [
        RunSpec("torture", "oracle/oscillator", "sac", seed, n_steps, 6, 1, 600.0, None, SETTINGS, checkpoint_every_s=1)
        for seed in range(n_runs)
    ]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1, memory=5_000_000_000) for _ in range(3)]
    lost: list[Any] = []

    def listen(spec: RunSpec, event: dict[str, Any]) -> None:
        if not lost and event.get("n_steps", 0) > n_steps // 3:
            lost.append(nodes[0])
            cluster.remove_node(nodes[0], allow_graceful=False)

    try:
        counts = run_ray(specs, folder / "ray", cluster.address, None, listen)
    finally:
        cluster.shutdown()
    run_local(specs, folder / "local", 2, lambda spec, event: None)
    there, here = suite.results(folder / "ray"), suite.results(folder / "local")
    assert lost
    return counts, [name for name in {**there, **here} if there.get(name) != here.get(name)]
