"""Which part of an agent earns its keep, on made-up runs whose answers are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from hjbbench.report import write_report
from hjbbench.report.parts import Part, paired_interval, parts
from hjbbench.store import read_runs
from tests.synthetic import write_run, write_suite


def variant_runs(root: Path, task: str, name: str, level: float, n_seeds: int = 5, of: str = "whole", **fields) -> None:
    fields = {"variant_of": of, "config": {"learning_rate": 3e-4, "flow": name}} | fields
    for seed in range(n_seeds):
        write_run(root, task, name, seed, level=level, **fields)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_suite(tmp_path, ["a/b", "a/c"], {"whole": 0.8}, n_seeds=5)
    variant_runs(tmp_path, "a/b", "crippled", 0.4)
    variant_runs(tmp_path, "a/c", "crippled", 0.8)
    variant_runs(tmp_path, "a/b", "improved", 1.1, action_rate=2.0)
    return tmp_path


def found(root: Path) -> dict[tuple[str, str], Part]:
    return {(part.variant, part.task): part for part in parts(read_runs(root))}


def test_a_variant_is_judged_against_its_agent_on_every_task_both_ran_on(folder: Path) -> None:
    rows = found(folder)
    assert {key: row.says for key, row in rows.items()} == {
        ("crippled", "a/b"): "worse",
        ("crippled", "a/c"): "no difference shown",
        ("improved", "a/b"): "better",
    }
    row = rows["crippled", "a/b"]
    assert row.changed == "flow=crippled"
    assert row.n_seeds == 5
    assert row.score.estimate == pytest.approx(-0.4, abs=0.08)
    assert row.score.low < row.score.estimate < row.score.high < 0
    assert rows["improved", "a/b"].action_rate.estimate == pytest.approx(2.0 / 8.4, rel=0.3)


def test_a_failed_run_counts_and_a_single_one_says_nothing(folder: Path) -> None:
    variant_runs(folder, "a/c", "broken", 0.8, status="diverged", error="nan", n_evals_made=0)
    variant_runs(folder, "a/b", "once", 0.1, n_seeds=1)
    rows = found(folder)
    assert rows["broken", "a/c"].says == "worse"
    assert rows["broken", "a/c"].action_rate is None
    assert rows["once", "a/b"].says == "no difference shown"
    assert math.isinf(rows["once", "a/b"].action_rate.low)


def test_two_seeds_of_the_same_sign_are_no_difference() -> None:
    low, high = (getattr(paired_interval(np.array([0.01, 0.03])), name) for name in ("low", "high"))
    assert (low, high) == pytest.approx((0.02 - 12.706 * 0.01, 0.02 + 12.706 * 0.01), rel=1e-4)
    assert paired_interval(np.array([-1.00, -0.98])).high < 0


def test_the_noise_is_judged_on_the_seeds_on_which_both_recorded_it(folder: Path) -> None:
    assert found(folder)["crippled", "a/b"].energy_distance is None
    for agent, seed, distance in (("whole", 0, 0.1), ("crippled", 0, 0.5), ("whole", 1, 0.2), ("crippled", 1, 0.8)):
        path = folder / "a" / "b" / agent / f"seed-{seed:02d}" / "diagnostics.csv"
        path.write_text(f"n_steps,residual_energy_distance\n500,9.0\n1000,{distance}\n", encoding="utf-8")
    rows = found(folder)
    assert rows["crippled", "a/b"].energy_distance.estimate == pytest.approx(0.5)
    assert rows["improved", "a/b"].energy_distance is None
    page = write_report(folder)[1]
    assert ">+0.5<" in page.read_text(encoding="utf-8")
    markdown = (page.parent / "leaderboard.md").read_text(encoding="utf-8")
    assert "| +0.5 (−0.77 to +1.8) |" in markdown


def test_seeds_that_one_side_lacks_are_left_out(folder: Path) -> None:
    for seed in (5, 6):
        write_run(folder, "a/b", "whole", seed, level=0.1)
    write_run(folder, "a/b", "crippled", 7, level=0.9, variant_of="whole")
    assert found(folder)["crippled", "a/b"].n_seeds == 5
    assert found(folder)["crippled", "a/b"].score.estimate == pytest.approx(-0.4, abs=0.08)


def test_a_variant_without_its_agent_is_left_out(tmp_path: Path) -> None:
    variant_runs(tmp_path, "a/b", "orphan", 0.8)
    assert not found(tmp_path)
    page = write_report(tmp_path)[1]
    assert 'id="parts"' not in page.read_text(encoding="utf-8")


def test_the_page_and_the_markdown_show_the_table(folder: Path) -> None:
    page = write_report(folder)[1]
    html = page.read_text(encoding="utf-8")
    assert 'href="#parts"' in html
    assert html.count('<td class="text folds">worse</td>') == 1
    markdown = (page.parent / "leaderboard.md").read_text(encoding="utf-8")
    (line,) = (line for line in markdown.splitlines() if line.startswith("| crippled | flow=crippled | a/b "))
    assert "| worse | −0.4" in line or "| worse | −0.3" in line
