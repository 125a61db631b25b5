"""Claims judged by the runs of two folders: ``check`` writes nothing, and the page says the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hjbbench.store import read_runs, write_rows
from tests.synthetic import write_run

CLAIMS = """
[[claim]]
name = "speed"
text = "fast is faster"
kind = "faster"
agent = "fast"
baseline = "slow"
tasks = ["a/*"]
ratio = 1.5

[[claim]]
name = "value"
text = "value is known"
kind = "value"
agent = "fast"
tasks = ["oracle/*"]
at_most = 0.05
"""


@pytest.fixture
def two_folders(tmp_path: Path) -> tuple[str, str]:
    """Runs that decide a claim about speed, and others about the value; two claims beside them."""
    for seed in range(6):
        for agent, speed in (("fast", 20.0), ("slow", 4.0)):
            write_run(tmp_path / "main", "a/b", agent, seed, level=1.0, spread=0.01, speed=speed)
        folder = write_run(tmp_path / "exact", "oracle/lqr-d2", "fast", seed, suite="exact")
        rows = [row | {"value_error_rel_l2": 0.02} for row in read_runs(folder)[0].evals.to_dict("records")]
        write_rows(folder / "evals.csv", list(rows[0]), rows)
    write_run(tmp_path / "exact", "oracle/lqr-d2", "only-there", 0, suite="exact")
    (tmp_path / "claims.toml").write_text(CLAIMS)
    return "main", "exact"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_check_judges_and_writes_nothing(hjbbench, two_folders: tuple[str, str], tmp_path: Path) -> None:
    before = contents(tmp_path)
    alone = hjbbench("check", "main", "--json")
    assert (alone.returncode, alone.stderr) == (2, "")
    assert [each["verdict"] for each in json.loads(alone.stdout)] == ["holds", "unmeasured"]
    result = hjbbench("check", *two_folders, "--json")
    assert result.returncode == 0, result.stderr
    assert [each["verdict"] for each in json.loads(result.stdout)] == ["holds", "holds"]
    assert contents(tmp_path) == before


def test_a_page_with_other_runs_says_what_check_says_of_both(
    hjbbench, two_folders: tuple[str, str], tmp_path: Path
) -> None:
    alone = hjbbench("report", "main")
    page, verdicts = tmp_path / "main/report/index.html", tmp_path / "main/report/claims.json"
    assert "Claims are judged by these runs alone." in page.read_text()
    board = (tmp_path / "main/report/leaderboard.csv").read_text()
    both = hjbbench("report", "main", "--with", "exact")
    assert "holds: 1, refuted: 0, undecided: 0, unmeasured: 1" in alone.stdout
    assert "holds: 2, refuted: 0, undecided: 0, unmeasured: 0" in both.stdout
    assert json.loads(verdicts.read_text()) == json.loads(hjbbench("check", *two_folders, "--json").stdout)
    for written in (page, tmp_path / "main/report/leaderboard.md"):
        text = written.read_text()
        assert text.count("Claims are judged by these runs and those of exact together.") == 1
        assert "value is known" in text
        assert "only-there" not in text
    assert (tmp_path / "main/report/leaderboard.csv").read_text() == board


def test_other_runs_that_do_not_fit_are_refused(hjbbench, two_folders: tuple[str, str], tmp_path: Path) -> None:
    write_run(tmp_path / "clash", "a/b", "fast", 9)
    refused = hjbbench("report", "main", "--with", "exact", "--with", "clash")
    assert (refused.returncode, "clash: has fast on a/b" in refused.stderr) == (2, True)
    (tmp_path / "claims.toml").unlink()
    refused = hjbbench("report", "main", "--with", "exact")
    assert (refused.returncode, "no claims to judge" in refused.stderr) == (2, True)
