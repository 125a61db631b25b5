"""The store refuses what is broken, by name, and writes whole files or none."""

from __future__ import annotations

import json
import os
import re

import pytest

from hjbbench.errors import Unwritable, UserError
from hjbbench.lock import hold, is_held
from hjbbench.record import new_record
from hjbbench.spec import RunSpec
from hjbbench.store import (
    EVAL_COLUMNS,
    frame,
    read_record,
    read_run,
    read_runs,
    read_together,
    write_atomic,
    write_record,
    write_rows,
)
from tests.synthetic import write_run

SPEC = RunSpec("unit", "oracle/oscillator", "sac", 0, 100, 5, 2, 60.0)


@pytest.fixture
def run(tmp_path):
    directory = tmp_path / "oracle/oscillator/sac/seed-00"
    directory.mkdir(parents=True)
    write_atomic(directory / "run.json", json.dumps(new_record(SPEC)))
    write_rows(directory / "evals.csv", EVAL_COLUMNS, [dict.fromkeys(EVAL_COLUMNS, 1.0), {"n_steps": 2.0}])
    return directory


def test_round_trip(run, tmp_path):
    (stored,) = read_runs(tmp_path)
    assert stored.record == json.loads(json.dumps(new_record(SPEC))) | {"started_at": stored.record["started_at"]}
    table = frame([stored])
    assert list(table["n_steps"]) == [1, 2]
    assert table["return_mean"].isna().tolist() == [False, True]
    assert set(table["agent"]) == {"sac"}
    assert read_run(tmp_path / "elsewhere") is None


BREAKAGES = {
    "cut in half": (lambda text: text[: len(text) // 2], "not readable as JSON"),
    "another format": (lambda text: text.replace('"format": 1', '"format": 9'), "format must be 1"),
    "not an object": (lambda text: "[1]", "format must be 1"),
    "missing field": (lambda text: text.replace('"targets"', '"tagrets"'), "'targets' is missing"),
    "wrong type": (lambda text: text.replace('"seed": 0', '"seed": "zero"'), "'seed' is 'zero', must be int"),
    "speed in words": (
        lambda text: text.replace('"speed_gflops": null', '"speed_gflops": "high"'),
        "must be a finite number",
    ),
    "list for a name": (lambda text: text.replace('"variant_of": null', '"variant_of": ["x"]'), "must be str"),
    "no time between decisions": (lambda text: re.sub(r'"dt": [0-9.]+', '"dt": 0.0', text), "dt is 0.0, must be"),
    "boolean for number": (lambda text: text.replace('"seed": 0', '"seed": true'), "'seed' is True"),
    "unknown status": (lambda text: text.replace('"interrupted"', '"fine"'), "must be one of done"),
    "binary": (lambda text: "\x00\x01", "not readable as JSON"),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_broken_record_is_named(name, run):
    breakage, expected = BREAKAGES[name]
    path = run / "run.json"
    path.write_text(breakage(path.read_text()))
    with pytest.raises(UserError, match=r"run\.json") as caught:
        read_record(path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_evaluations_are_named(run, tmp_path):
    path = run / "evals.csv"
    whole = path.read_text()
    path.write_text(whole.replace("return_mean,", ""))
    with pytest.raises(UserError, match=r"evals\.csv: .*missing \['return_mean'\]"):
        frame(read_runs(tmp_path))
    path.write_text(whole.replace("1.0", "one"))
    with pytest.raises(UserError, match="column n_steps must hold numbers"):
        frame(read_runs(tmp_path))
    path.write_text("")
    with pytest.raises(UserError, match="not a readable CSV"):
        frame(read_runs(tmp_path))
    path.write_text("a,b\n1,2\n1,2,3\n")  # about which pandas has more than one line to say
    with pytest.raises(UserError, match="not a readable CSV") as told:
        frame(read_runs(tmp_path))
    assert "\n" not in str(told.value)
    path.unlink()
    assert len(frame(read_runs(tmp_path))) == 0


def test_failed_write_leaves_the_old_file(run, monkeypatch):
    before = (run / "run.json").read_bytes()

    def broken(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(Unwritable, match=r"run\.json: cannot be written \(no space left\)"):
        write_atomic(run / "run.json", "{}")
    assert (run / "run.json").read_bytes() == before
    assert not list(run.glob("*.tmp"))


def test_checksums_tell_a_changed_file(run, tmp_path):
    write_record(run, new_record(SPEC) | {"finished_at": "now", "status": "done"})
    (stored,) = read_runs(tmp_path)
    assert set(stored.record["sha256"]) == {"run.json", "evals.csv"}
    assert len(stored.evals) == 2
    evals, record = run / "evals.csv", run / "run.json"
    evals.write_text(evals.read_text()[:-20])
    (stored,) = read_runs(tmp_path)
    with pytest.raises(UserError, match=r"evals\.csv: checksum differs"):
        _ = stored.evals
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(UserError, match=r"run\.json: checksum differs"):
        read_runs(tmp_path)


def test_lock_is_exclusive_and_ends_with_its_holder(run):
    assert not is_held(run)
    lock = hold(run)
    assert is_held(run)
    with pytest.raises(UserError, match="another process"):
        hold(run)
    lock.close()
    assert not is_held(run)


def test_folders_are_read_together_unless_they_share_a_cell(tmp_path):
    one, two, clash = (tmp_path / name for name in ("one", "two", "clash"))
    for seed in range(2):
        write_run(one, "test/walk", "agent-a", seed)
    write_run(two, "test/run", "agent-a", 0)
    assert [len(runs) for runs in read_together([one, two])] == [2, 1]
    write_run(clash, "test/walk", "agent-a", 5)
    with pytest.raises(UserError, match=r"clash: has agent-a on test/walk, as .*one has"):
        read_together([one, two, clash])
