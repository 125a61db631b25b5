"""Shared fixtures: the command line as a process, with the example third-party package installed beside hjbbench."""

from __future__ import annotations

import os
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from hjbbench import cli

torch.set_num_threads(1)  # two test processes share two cores
EXAMPLE = Path(__file__).parent / "thirdparty"


def pytest_configure(config: pytest.Config) -> None:
    """Put the example package and its entry points on the path, as an installer would, here and for child processes.

    Before collection, since tests over every task and agent are collected from the registry.
    """
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    folder = tempfile.TemporaryDirectory()
    config.add_cleanup(folder.cleanup)
    site = Path(folder.name)
    (site / "hjbbench_example").symlink_to(EXAMPLE / "hjbbench_example")
    info = site / "hjbbench_example-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()) for group, entries in groups]
    (info / "entry_points.txt").write_text("\n".join(lines))
    sys.path.insert(0, str(site))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])


@dataclass
class Finished:
    """How a call of the command line ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def hjbbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Call the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Finished:
        monkeypatch.setattr(sys, "argv", ["hjbbench", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Finished(int(end.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def as_one_graph(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """Trace what would be compiled, whole or not at all, and run it without kernels of its own; returns the graphs."""
    from torch._dynamo.backends.debugging import aot_eager

    graphs: list[torch.fx.GraphModule] = []
    compile_ = torch.compile

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]):
        graphs.append(graph)
        return aot_eager(graph, inputs)

    monkeypatch.setattr(torch, "compile", lambda function, **_: compile_(function, backend=backend, fullgraph=True))
    return graphs


SUITE = """
description = "the example"
tasks = ["example/integrator"]
agents = ["proportional", "random"]
n_steps = { "*" = 120 }
seeds = "0-1"
n_evals = 4
n_eval_episodes = 2
wall_limit_s = 120
"""


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    """A suite over the example package that runs in seconds."""
    path = tmp_path / "example.toml"
    path.write_text(SUITE)
    return path
