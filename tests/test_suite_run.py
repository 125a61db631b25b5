"""A whole suite through the command line: results, resumption, faults, and everything a person can get wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from hjbbench.lock import hold, is_held
from hjbbench.store import EPISODE_COLUMNS, EVAL_COLUMNS, frame, read_record, read_runs
from tests.synthetic import write_run


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_suite_runs_then_has_nothing_left_to_do(hjbbench, suite_file, tmp_path):
    first = hjbbench("run", str(suite_file), "--out", "out")
    assert first.returncode == 0, first.stderr
    runs = read_runs(tmp_path / "out")
    assert len(runs) == 4
    assert {run.record["status"] for run in runs} == {"done"}
    for run in runs:
        assert list(run.evals.columns) == list(EVAL_COLUMNS)
        assert list(run.evals["n_steps"]) == [15, 43, 78, 120]
        assert run.evals["t_env_s"].iloc[-1] == pytest.approx(12.0)
        header = (run.path / "episodes.csv").read_text().splitlines()[0]
        assert header == ",".join(EPISODE_COLUMNS)
        assert run.record["versions"]["torch"]
        assert not (run.path / "running.lock").exists()
    diagnostics = (tmp_path / "out/example/integrator/proportional/seed-00/diagnostics.csv").read_text().splitlines()
    assert diagnostics[0] == "n_steps,obs"
    assert len(diagnostics) == 121
    # Feedback beats chance, on the same evaluation episodes for the same seed.
    table = frame(runs).query("n_steps == 120").set_index(["agent", "seed"])["return_mean"]
    assert (table["proportional"] > table["random"]).all()

    before = tree(tmp_path / "out")
    second = hjbbench("run", str(suite_file), "--out", "out")
    assert "4 finished before, 0 to do" in second.stdout
    assert tree(tmp_path / "out") == before

    state = json.loads(hjbbench("status", "out", "--json").stdout)
    assert state["counts"] == {"done": 4}
    assert state["left_h"] == 0

    # Another budget is another experiment: refused by name, nothing touched.
    other = hjbbench("run", str(suite_file), "--out", "out", "--steps", "60")
    assert other.returncode == 2
    assert "budget is 120 steps, now 60" in other.stderr
    assert tree(tmp_path / "out") == before
    changed = hjbbench("run", str(suite_file), "--out", "out", "--set", "proportional.gain=2.0")
    assert changed.returncode == 2
    assert "proportional.gain is 1.0, now 2.0" in changed.stderr
    assert tree(tmp_path / "out") == before

    # A broken file is named and left alone by every command.
    victim = tmp_path / "out/example/integrator/random/seed-00/run.json"
    victim.write_bytes(victim.read_bytes()[:200])
    broken = tree(tmp_path / "out")
    for command in (("run", str(suite_file), "--out", "out"), ("status", "out"), ("report", "out")):
        result = hjbbench(*command)
        assert result.returncode == 2
        assert "seed-00/run.json" in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert tree(tmp_path / "out") == broken


def test_what_was_not_asked_for_is_missing_all_the_same(hjbbench, suite_file):
    assert hjbbench("run", str(suite_file), "--out", "out", "--agents", "random", "--seeds", "1-2").returncode == 0
    state = json.loads(hjbbench("status", "out", "--json").stdout)
    assert state["counts"] == {"done": 2, "missing": 3}
    again = hjbbench("run", str(suite_file), "--out", "out", "--agents", "random", "--seeds", "1-2")
    assert "2 runs, 2 finished before, 0 to do" in again.stdout


def test_a_folder_of_another_suite_is_refused_before_anything_runs(hjbbench, suite_file, tmp_path):
    write_run(tmp_path / "out", "test/walk", "agent-a", 0)
    before = tree(tmp_path / "out")
    result = hjbbench("run", str(suite_file), "--out", "out", "--replace")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "--out: out holds runs of suite 'synthetic'; suite 'example' needs another folder" in result.stderr
    assert tree(tmp_path / "out") == before


SLOW = """
[variants.slow]
agent = "proportional"
fault = "hang"
"""
FAULTS = {
    "raise": ("error", "a fault of the example"),
    "nan": ("diverged", "not finite"),
    "kill": ("error", "signal 9"),
    "segfault": ("error", "signal 11"),
    "leak": ("error", "memory limit of 900 MB"),
    "miscount": ("error", "decisions but took"),
    "early": ("error", "returned after 50 of 120"),
}


def test_faults_are_statuses_and_the_others_go_on(hjbbench, suite_file, tmp_path):
    # Evaluations every few steps, so that a miscount shows at once.
    text = suite_file.read_text().replace('"proportional", ', '"proportional", "faulty-*", ').replace('"0-1"', '"0"')
    text = text.replace("n_evals = 4", "n_evals = 60\nmemory_limit_mb = 900")
    for fault in FAULTS:
        text += f'\n[variants.faulty-{fault}]\nagent = "proportional"\nfault = "{fault}"\n'
    suite_file.write_text(text)
    result = hjbbench("run", str(suite_file), "--out", "out")
    assert result.returncode == 0, result.stderr
    runs = {run.record["agent"]: run for run in read_runs(tmp_path / "out")}
    assert runs["proportional"].record["status"] == runs["random"].record["status"] == "done"
    for fault, (status, reason) in FAULTS.items():
        run = runs[f"faulty-{fault}"]
        assert run.record["status"] == status
        assert reason in run.record["error"]
        assert run.record["variant_of"] == "proportional"
        assert len(run.evals) > 0  # what was measured before the fault is kept
        assert (run.evals["n_steps"] <= 52).all()
    again = hjbbench("run", str(suite_file), "--out", "out")
    assert "9 finished before, 0 to do" in again.stdout  # a failure is a result, not a gap


def test_a_run_that_hangs_is_stopped_at_its_wall_limit(hjbbench, suite_file, tmp_path):
    text = suite_file.read_text().replace('"proportional", "random"', '"slow"').replace('"0-1"', '"0"')
    suite_file.write_text(text.replace("wall_limit_s = 120", "wall_limit_s = 15") + SLOW)
    result = hjbbench("run", str(suite_file), "--out", "out")
    assert "1 timeout" in result.stdout
    (run,) = read_runs(tmp_path / "out")
    assert run.record["status"] == "timeout"
    assert "wall limit of 15 s" in run.record["error"]
    assert not is_held(run.path)


def test_kill_of_the_driver_loses_nothing_and_leaves_no_orphan(hjbbench, suite_file, tmp_path):
    suite_file.write_text(suite_file.read_text().replace('"random"', '"slow"') + SLOW)
    command = [sys.executable, "-m", "hjbbench.cli", "run", str(suite_file), "--out", "out", "--workers", "1"]
    driver = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    finished = tmp_path / "out/example/integrator/proportional/seed-00"
    marker = tmp_path / "out/example/integrator/slow/seed-00/running.lock"
    deadline = time.monotonic() + 90
    while not is_held(marker.parent) and time.monotonic() < deadline:
        time.sleep(0.1)
    before = tree(finished)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    while is_held(marker.parent) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_held(marker.parent)  # the run's process ended with its driver
    state = json.loads(hjbbench("status", "out", "--json").stdout)
    assert state["counts"] == {"done": 1, "interrupted": 1, "missing": 2}
    rest = hjbbench("run", str(suite_file), "--out", "out", "--agents", "proportional")
    assert "1 finished before, 1 to do" in rest.stdout
    assert tree(finished) == before


def test_a_killed_driver_s_runs_go_on_from_their_checkpoints(hjbbench, suite_file, tmp_path):
    text = suite_file.read_text().replace('"proportional", "random"', '"slow"').replace('"0-1"', '"0"')
    text = "checkpoint_every_s = 1e-6\n" + text.replace("= 120 }", "= 500 }") + SLOW.replace("hang", "pause")
    suite_file.write_text(text)
    command = [sys.executable, "-m", "hjbbench.cli", "run", str(suite_file), "--out", "out"]
    driver = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    run = tmp_path / "out/example/integrator/slow/seed-00"
    deadline = time.monotonic() + 90
    while not (run / "checkpoint.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert read_record(run / "run.json")["status"] == "interrupted"
    assert hjbbench("run", str(suite_file), "--out", "out").returncode == 0
    record = read_record(run / "run.json")
    assert record["status"] == "done"
    assert record["resumed_at_steps"]
    assert not (run / "checkpoint.json").exists()


def test_two_suites_in_one_folder_do_not_fight(hjbbench, suite_file, tmp_path):
    (tmp_path / "out").mkdir()
    lock = hold(tmp_path / "out")
    before = tree(tmp_path / "out")
    second = hjbbench("run", str(suite_file), "--out", "out")
    assert second.returncode == 2
    assert "another process is at work here (process" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    assert tree(tmp_path / "out") == before
    lock.close()


def test_a_full_disk_is_one_clear_error_and_loses_nothing(hjbbench, suite_file, tmp_path, monkeypatch):
    arguments = ("run", str(suite_file), "--out", "out", "--workers", "1")
    assert hjbbench(*arguments, "--agents", "random", "--seeds", "0").returncode == 0
    before = tree(tmp_path / "out/example/integrator/random")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        result = hjbbench(*arguments)
    assert result.returncode == 2
    assert "No space left on device" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert tree(tmp_path / "out/example/integrator/random") == before
    state = json.loads(hjbbench("status", "out", "--json").stdout)
    assert state["counts"]["done"] == 1
    assert not state["failed"]  # the disk's failure is nobody's result


def test_ctrl_c_marks_the_running_ones(hjbbench, suite_file, tmp_path):
    suite_file.write_text(suite_file.read_text().replace('"proportional", "random"', '"slow"') + SLOW)
    command = [sys.executable, "-m", "hjbbench.cli", "run", str(suite_file), "--out", "out", "--workers", "1"]
    # A shell's background jobs ignore Ctrl-C, and hand that on to what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        driver = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    marker = tmp_path / "out/example/integrator/slow/seed-00/running.lock"
    deadline = time.monotonic() + 90
    while not is_held(marker.parent) and time.monotonic() < deadline:
        time.sleep(0.1)
    driver.send_signal(signal.SIGINT)
    _, errors = driver.communicate(timeout=30)
    assert driver.returncode == 2
    assert "goes on from out" in errors
    assert len(errors.strip().splitlines()) == 1
    (run,) = read_runs(tmp_path / "out")
    assert run.record["status"] == "interrupted"


BAD = {
    "agent": (("run", "S", "--agents", "proportoinal"), "did you mean proportional"),
    "task": (("run", "S", "--tasks", "example/integrater"), "did you mean example/integrator"),
    "suite": (("run", "quik"), "did you mean quick"),
    "seeds": (("run", "S", "--seeds", "3-1"), "runs backwards; write 1-3"),
    "seeds text": (("run", "S", "--seeds", "x"), "seeds: 'x'"),
    "steps": (("run", "S", "--steps", "-5"), "--steps: -5"),
    "workers": (("run", "S", "--workers", "0"), "--workers: 0"),
    "setting": (("run", "S", "--set", "proportional.gian=2"), "did you mean gain"),
    "setting type": (("run", "S", "--set", "proportional.gain=fast"), "must be of type float"),
    "setting form": (("run", "S", "--set", "gain"), "agent.setting=value"),
    "folder": (("status", "nowhere"), "no such folder"),
    "option": (("run", "S", "--speed", "3"), "--speed"),
    "command": (("rnu",), "rnu"),
    "evaluate": (("evaluate", "."), "no run here"),
    "out is a file": (("run", "S", "--out", "a-file"), "is a file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line(name, hjbbench, suite_file, tmp_path):
    (tmp_path / "a-file").write_text("kept")
    arguments, expected = BAD[name]
    before = tree(tmp_path)
    result = hjbbench(*(str(suite_file) if part == "S" else part for part in arguments))
    assert result.returncode == 2
    assert expected in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert tree(tmp_path) == before


SUITE_ERRORS = {
    "sedes = '0'": "did you mean seeds",
    "n_evals = 'many'": "n_evals is 'many', must be of type whole number",
    "n_eval_episodes = 0": "n_eval_episodes is 0",
    "wall_limit_s = -1": "wall_limit_s is -1",
    "seeds = '5-2'": "runs backwards",
    "variants = { x = { gain = 2.0 } }": "variants.x must be a table with an agent",
    "variants = { x = { agent = 'proportional', gain = 'big' } }": "must be of type float",
    "= broken": "not readable as TOML",
}


@pytest.mark.parametrize("line", SUITE_ERRORS)
def test_suite_file_errors_name_the_key(line, hjbbench, suite_file):
    key = line.split(" =")[0]
    kept = [row for row in suite_file.read_text().splitlines() if not row.startswith(f"{key} =")]
    suite_file.write_text("\n".join([*kept, line]))
    result = hjbbench("run", str(suite_file))
    assert result.returncode == 2
    assert SUITE_ERRORS[line] in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_kept_policy_is_evaluated_at_other_rates(hjbbench, suite_file):
    arguments = ("--out", "out", "--seeds", "0", "--agents", "proportional", "--keep-policy")
    assert hjbbench("run", str(suite_file), *arguments).returncode == 0
    result = hjbbench("evaluate", "out/example/integrator/proportional/seed-00", "--dt", "0.5,1,2", "--json")
    rows = json.loads(result.stdout)
    assert [row["dt"] for row in rows] == pytest.approx([0.05, 0.1, 0.2])
    assert all(-2 < row["return_mean"] < 0 for row in rows)
    bad = hjbbench("evaluate", "out/example/integrator/proportional/seed-00", "--dt", "0,1")
    assert bad.returncode == 2
    assert "--dt: '0,1'" in bad.stderr


def test_policies_that_cannot_be_brought_back_are_refused_in_one_line(hjbbench, suite_file):
    hjbbench("run", str(suite_file), "--out", "out", "--seeds", "0", "--agents", "proportional", "--keep-policy")
    run = Path("out/example/integrator/proportional/seed-00")
    film = hjbbench("render", str(run))
    assert (film.returncode, film.stderr.count("\n")) == (2, 1)
    assert "example/integrator: its environment draws no picture" in film.stderr
    for damage, cause in ((np.zeros(3), "Unsupported global"), ({}, "KeyError: 'rng' (proportional.py:")):
        torch.save(damage, run / "checkpoint.pt")
        result = hjbbench("evaluate", str(run), "--dt", "1")
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert "checkpoint.pt: proportional cannot load it: " in result.stderr
        assert cause in result.stderr
        assert "\x1b" not in result.stderr
    (run / "checkpoint.pt").unlink()
    none = hjbbench("evaluate", str(run))
    assert "no policy was kept; run it with --keep-policy and another --out" in none.stderr


def test_list_shows_third_parties(hjbbench):
    found = json.loads(hjbbench("list", "--json").stdout)
    assert {"example/integrator", "oracle/oscillator"} <= {task["name"] for task in found["tasks"]}
    assert {"proportional", "sac"} <= {agent["name"] for agent in found["agents"]}
    summaries = [agent["summary"] for agent in found["agents"]]
    assert len(set(summaries)) == len(summaries)
    assert "quick" in {suite["name"] for suite in found["suites"]}
