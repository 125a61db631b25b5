"""Our curves over published ones: where there are any, with the numbers and the environments' versions."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from hjbbench.registry import get_agent
from hjbbench.report import published
from hjbbench.report.cells import collect
from hjbbench.report.drawing import looks
from hjbbench.report.standings import rank
from hjbbench.store import read_runs
from tasks.locomotion import ROBOTS
from tests.synthetic import RANDOM_RETURN, REFERENCE_RETURN, write_run

TASK = "locomotion/half-cheetah"


def figures(root: Path, task: str) -> list:
    board = rank("synthetic", collect(read_runs(root)))
    return published.draw_published(board.tasks[0], board.per_task[task], looks(board.tasks[0].agents), "t")


def test_numbers_and_versions_stand_beside_the_figure(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, TASK, "dhmbpo", seed, level=1.0, spread=0.0, speed=100.0)
        write_run(tmp_path, TASK, "ours", seed, level=0.5)
    (figure,) = figures(tmp_path, TASK)
    theirs = next(p for p in published.published(TASK) if p.agent == "dhmbpo" and p.n_steps == 10_000)
    change = REFERENCE_RETURN / theirs.return_mean - 1
    assert f"dhmbpo {REFERENCE_RETURN:,.0f} against {theirs.return_mean:,.0f} of DHMBPO v4, own" in figure.reading
    assert f"{change:+.0%} (!)" in figure.reading
    assert "HalfCheetah-v5" in figure.reading
    assert "After 10,000 decisions" in figure.reading  # the runs end there, whatever was published later
    text = " ".join(ElementTree.fromstring(figure.svg).itertext())
    assert "MBPO v2" in text
    assert "BRO" not in text  # its first point is behind the end of the runs


def test_returns_below_random_are_drawn_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A score is not below 0; a return is, and published curves begin there."""
    drawn = []
    monkeypatch.setattr(published, "mean_curve", lambda axes, steps, returns, *_, **__: drawn.append(returns) or 0.0)
    write_run(tmp_path, TASK, "dhmbpo", 0, level=-0.5, spread=0.0)
    (figure,) = figures(tmp_path, TASK)
    (run,) = read_runs(tmp_path)
    assert run.evals["return_mean"].iloc[-1] < 1.4 * RANDOM_RETURN
    (returns,) = drawn
    assert returns[0].tolist() == run.evals["return_mean"].tolist()
    assert f"dhmbpo {run.evals['return_mean'].iloc[-1]:,.0f} against" in figure.reading


def test_tasks_nobody_published_have_no_figure(tmp_path: Path) -> None:
    write_run(tmp_path, "control/pendulum", "dhmbpo", 0)
    assert figures(tmp_path, "control/pendulum") == []


def test_every_published_point_names_a_task_an_agent_and_its_source() -> None:
    with open(Path(published.__file__).with_suffix(".csv"), newline="", encoding="utf-8") as file:
        tasks = {row["task"] for row in csv.DictReader(file)}
    points = [point for task in tasks for point in published.published(task)]
    assert len({(p.task, p.name, p.n_steps) for p in points}) == len(points)
    for point in points:
        assert ROBOTS[point.task.removeprefix("locomotion/")].gym_id == point.environment
        assert not point.agent or get_agent(point.agent)
        assert ":" in point.source
        assert point.n_seeds >= 5


@pytest.mark.parametrize("task", ["locomotion/half-cheetah", "locomotion/hopper"])
def test_the_budget_of_the_suites_has_published_points(task: str) -> None:
    assert {p.agent for p in published.published(task) if p.n_steps == 25_000} >= {"mbpo", "dhmbpo", "sac", "crossq"}
