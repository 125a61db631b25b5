"""A killed run goes on from its checkpoint and ends as if nothing had happened, whatever the agent and the task."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hjbbench import checkpoint, sources
from hjbbench.environment import TrainingEnv
from hjbbench.errors import Unwritable
from hjbbench.registry import all_agents, all_tasks, get_agent, get_task
from hjbbench.runner import execute
from hjbbench.spec import RunSpec
from hjbbench.store import read_record

SMALL = {
    "warmup_steps": 20, "learning_starts": 20, "buffer_size": 1000, "batch_size": 16, "updates_per_step": 1,
    "members": 2, "elites": 2, "rollouts": 20, "model_epochs_max": 1, "model_width": 8, "width": 8, "model_batch": 16,
    "model_first_updates": 3, "first_updates": 3, "start_every": 7, "calibrate_every": 50,
    "generator_members": 2, "generator_batch": 16, "generator_first_updates": 5, "policy_first_updates": 5, "batch": 16,
    "rollout_batch": 16, "rollout_steps": 3, "look_every": 60, "short_episode": 10,
    "updates": 1,
}  # fmt: skip
"""Settings of whoever has them: learning begins early and is cheap."""


class Killed(BaseException):
    """What ends a run without a word."""


def spec_of(name: str, n_steps: int = 60) -> RunSpec:
    entry = get_agent(name)
    choice = {"example/integrator": 0.5, "highway/lane-change": 0.5, "oracle/lqg-d10": None, "oracle/eikonal-d1": None}
    choice["oracle/lqr-d2"] = 0.125
    task = next(t for t in choice if entry.refuses(get_task(t)) is None)
    settings = {key: value for key, value in SMALL.items() if hasattr(entry.config, key)}
    return RunSpec("unit", task, name, 3, n_steps, 3, 1, 60.0, None, settings, dt=choice[task], checkpoint_every_s=0.0)


def tables(directory: Path) -> dict[str, list[dict[str, str]]]:
    """evals.csv and episodes.csv as written, the wall clock aside."""
    found = {}
    for name in ("evals.csv", "episodes.csv"):
        with open(directory / name, newline="") as file:
            found[name] = [{k: v for k, v in row.items() if k != "t_wall_s"} for row in csv.DictReader(file)]
    return found


def kill_at(n_steps: int):
    """A listener that ends the process's run at the first evaluation from this decision on."""

    def emit(event: dict) -> None:
        if event.get("n_steps", 0) >= n_steps:
            raise Killed

    return emit


@pytest.fixture(autouse=True)
def at_every_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "COST_SHARE", float("inf"))


@pytest.mark.parametrize("name", sorted(all_agents()))
def test_resumed_run_equals_an_undisturbed_one(name: str, tmp_path: Path) -> None:
    spec = spec_of(name)
    assert execute(spec, tmp_path / "whole") == "done", read_record(tmp_path / "whole/run.json")["error"]
    for moment in (12, 46):  # in the warm-up of those that have one, and while learning
        with pytest.raises(Killed):
            execute(spec, tmp_path / "killed", kill_at(moment))
        assert read_record(tmp_path / "killed/run.json")["status"] == "interrupted"
    assert execute(spec, tmp_path / "killed") == "done"
    assert tables(tmp_path / "killed") == tables(tmp_path / "whole")
    whole, resumed = (read_record(tmp_path / name / "run.json") for name in ("whole", "killed"))
    assert whole["resumed_at_steps"] == []
    assert 30 <= resumed["resumed_at_steps"][-1] < spec.n_steps  # it was killed at the last evaluation
    assert resumed["totals"]["n_updates"] == whole["totals"]["n_updates"]
    assert not list((tmp_path / "killed").glob("checkpoint*"))


@pytest.mark.parametrize("name", sorted(all_tasks()))
def test_training_environment_resumes_between_episodes(name: str) -> None:
    """Whether the state is taken before the reset or after it, the next episode is the one that was due."""
    task, rng = get_task(name), np.random.default_rng(0)

    def new() -> TrainingEnv:
        return TrainingEnv(task.make(dt=task.dt), task.dt, 5, 1000)

    def play(env: TrainingEnv, actions: np.ndarray) -> list:
        return [env.step(action)[:2] for action in actions]

    env = new()
    env.reset()
    actions = rng.uniform(-1, 1, (6, *(env.action_space.shape or ())))
    play(env, actions)
    before = json.loads(json.dumps(env.state()))
    start, _ = env.reset()
    after = json.loads(json.dumps(env.state()))
    sequel = play(env, actions[:4])
    for state in (before, after):
        other = new()
        other.resume(state)
        np.testing.assert_array_equal(other.reset()[0], start)
        for (obs, reward), (same_obs, same_reward) in zip(sequel, play(other, actions[:4]), strict=True):
            np.testing.assert_array_equal(obs, same_obs)
            assert reward == same_reward
        assert other.n_steps == env.n_steps
        other.close()
    env.close()


def test_checkpoint_in_the_middle_of_an_episode_is_refused() -> None:
    task = get_task("oracle/oscillator")
    env = TrainingEnv(task.make(), task.dt, 0, 10)
    env.reset()
    env.step(np.zeros(2))
    env.state()
    with pytest.raises(RuntimeError, match="middle of an episode"):
        env.step(np.zeros(2))


def test_every_pair_a_kill_can_leave_is_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counter:
        def save(self, path: Path) -> None:
            torch.save(str(state["n"]), path)

    def stored() -> tuple[str, int]:
        found = checkpoint.Checkpoints(tmp_path, {"config_hash": "a"}, 0.0).load()
        assert found is not None
        return torch.load(found[0], weights_only=True), found[1]["n"]

    checkpoints = checkpoint.Checkpoints(tmp_path, {"config_hash": "a"}, 0.0)
    state = {"n": 1}
    checkpoints.save(Counter(), state)  # type: ignore[arg-type]
    assert stored() == ("1", 1)

    def killed(*_: object, **__: object) -> None:
        raise Killed

    state = {"n": 2}
    for module, function, expected in (("json", "dumps", ("1", 1)), ("os", "replace", ("1", 1))):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.{function}", killed)
            with pytest.raises(Killed):
                checkpoints.save(Counter(), state)  # type: ignore[arg-type]
        assert stored() == expected
    replaced: list[object] = []
    replace = checkpoint.os.replace

    def killed_second(source: Path, target: Path) -> None:
        if replaced:
            raise Killed
        replaced.append(target)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", killed_second)
        with pytest.raises(Killed):
            checkpoints.save(Counter(), state)  # type: ignore[arg-type]
    assert stored() == ("2", 2)  # the state is new, the agent's file has not got its name yet
    assert checkpoint.Checkpoints(tmp_path, {"config_hash": "b"}, 0.0).load() is None
    (tmp_path / "checkpoint.json").write_text("{")
    assert checkpoint.Checkpoints(tmp_path, {"config_hash": "a"}, 0.0).load() is None


def test_a_kept_policy_that_does_not_fit_on_the_disk_costs_nothing(tmp_path: Path) -> None:
    class Counter:
        def save(self, path: Path) -> None:
            torch.save("whole", path)

    class Full:
        def save(self, path: Path) -> None:
            path.write_text("ha")
            raise OSError(28, "No space left on device")

    checkpoints = checkpoint.Checkpoints(tmp_path, {}, 0.0)
    checkpoints.save(Counter(), {"n": 1})  # type: ignore[arg-type]
    with pytest.raises(Unwritable, match="No space left"):
        checkpoints.keep(Full())  # type: ignore[arg-type]
    found = checkpoints.load()
    assert found is not None
    assert torch.load(found[0], weights_only=True) == "whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.json", "checkpoint.pt"]
    checkpoints.keep(Counter())  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("write", [lambda path: torch.save({"x": np.zeros(3)}, path), lambda path: path.touch()])
def test_a_state_that_cannot_be_loaded_ends_the_run_at_its_first_checkpoint(tmp_path: Path, monkeypatch, write) -> None:
    entry = get_agent("proportional")
    monkeypatch.setattr(entry.factory, "save", lambda self, path: write(path))
    assert execute(spec_of("proportional", 600), tmp_path) == "error"
    record = read_record(tmp_path / "run.json")
    expected = "save() must write what torch.load(weights_only=True) reads: tensors, numbers, text, lists and dicts"
    assert expected in record["error"]
    assert record["totals"]["n_steps"] < 600
    assert not list(tmp_path.glob("checkpoint*"))


def test_a_state_is_read_back_once_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(checkpoint, "_check_readable", read.append)

    class Counter:
        def save(self, path: Path) -> None:
            torch.save({}, path)

    checkpoints = checkpoint.Checkpoints(tmp_path, {}, 0.0)
    for n in range(3):
        checkpoints.save(Counter(), {"n": n})  # type: ignore[arg-type]
    assert len(read) == 1


def test_a_line_of_a_helper_changes_the_digest_of_an_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "edited_agents"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "mine.py").write_text("from edited_agents.gain import GAIN\n\n\ndef make():\n    return GAIN\n")
    (package / "gain.py").write_text("GAIN = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    make = importlib.import_module("edited_agents.mine").make
    before = sources.digest(make)
    assert sources.digest(make) == before
    (package / "gain.py").write_text("GAIN = 2\n")
    assert sources.digest(make) != before


def test_an_agent_edited_since_its_checkpoint_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("sac")
    with pytest.raises(Killed):
        execute(spec, tmp_path, kill_at(46))
    monkeypatch.setattr(sources, "digest", lambda *factories: "of the edited agent")
    assert execute(spec, tmp_path) == "done"
    assert read_record(tmp_path / "run.json")["resumed_at_steps"] == []


def test_checkpoints_become_rarer_where_they_are_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def save(self, path: Path) -> None:
            torch.save({}, path)
            now[0] += 3.0

    now = [0.0]
    monkeypatch.setattr(checkpoint, "COST_SHARE", 0.01)
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    checkpoints = checkpoint.Checkpoints(tmp_path, {}, 10.0)
    assert not checkpoints.due
    now[0] = 10.0
    assert checkpoints.due
    checkpoints.save(Slow(), {})  # type: ignore[arg-type]
    now[0] += 299.0
    assert not checkpoints.due
    now[0] += 2.0
    assert checkpoints.due
