"""The report on made-up runs whose answers are known."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hjbbench.clock import evaluation_points
from hjbbench.report import write_report
from hjbbench.report.cells import collect
from hjbbench.report.headline import headline
from hjbbench.report.standings import Leaderboard, rank
from hjbbench.store import read_runs, write_rows
from tests.synthetic import BUDGET_STEPS, TARGETS, write_run, write_suite

HOSTILE = "<script>alert(1)</script>"
TASKS = ("control/pendulum", "highway/lane-change")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks, two agents that cover both, one that does not, and every way to fail."""
    root = tmp_path_factory.mktemp("synthetic")
    write_suite(root, TASKS[:1], {"good": 0.95, "poor": 0.3}, n_evals=10)
    write_suite(root, TASKS[1:], {"good": 0.9, "poor": 0.2, "specialist": 0.99}, n_evals=10, metrics=("collisions",))
    write_run(root, TASKS[0], HOSTILE, 0, status="error", error=f"ValueError: {HOSTILE}", n_evals_made=0, n_evals=10)
    write_run(root, TASKS[0], "poor", 3, status="diverged", error="action is not finite", n_evals_made=4, n_evals=10)
    write_run(root, TASKS[0], "poor", 4, status="timeout", error="wall limit", n_evals_made=9, n_evals=10)
    write_run(root, TASKS[0], "good", 5, status="interrupted", n_evals_made=3, n_evals=10)
    return root


@pytest.fixture(scope="module")
def report(folder: Path) -> tuple[str, Path]:
    return write_report(folder)


@pytest.fixture(scope="module")
def html(report: tuple[str, Path]) -> str:
    return report[1].read_text(encoding="utf-8")


def board_of(root: Path) -> Leaderboard:
    return rank("synthetic", collect([run for run in read_runs(root) if run.record["status"] != "interrupted"]))


def test_the_first_sentence_says_who_leads_and_by_how_much(report: tuple[str, Path], html: str) -> None:
    first = report[0].split("\n")[0]
    assert re.fullmatch(
        r"Of the 2 agents with runs on every task, good leads with a score of 0\.\d\d \(0\.\d\d–\d\.\d\d\), ahead of "
        r"poor with 0\.\d\d \(.+\)\.",
        first,
    )
    assert f'<p class="lead">{first}</p>' in html


def test_scores_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b"], {"exact": 0.7}, n_seeds=2, n_evals=10, spread=0.0)
    write_report(tmp_path)
    table = pd.read_csv(tmp_path / "report" / "leaderboard.csv")
    curves = [(run.evals["return_mean"].to_numpy() + 1000) / 900 for run in read_runs(tmp_path)]
    steps = np.array(evaluation_points(BUDGET_STEPS, 10))
    areas = [(np.diff(steps) * (curve[1:] + curve[:-1]) / 2).sum() / (steps[-1] - steps[0]) for curve in curves]
    assert table["task"].tolist()[1] == "a/b"
    assert table["score"].tolist() == pytest.approx([np.mean([curve[-2:].mean() for curve in curves])] * 2)
    assert table["anytime_score"].tolist() == pytest.approx([np.mean(areas)] * 2)
    assert table["wall_s_per_1000_steps"].tolist() == pytest.approx([10.0] * 2)
    assert max(curve[-1] for curve in curves) < (TARGETS[-1] + 1000) / 900  # both end below the hardest target
    assert table["n_reached"].tolist() == [0, 0]
    assert table["median_steps_to_target"][1] == math.inf
    assert table["rmst_steps_to_target"][1] == BUDGET_STEPS


def test_steps_to_target_are_those_of_the_first_held_evaluation(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b"], {"exact": 1.0}, n_seeds=3, n_evals=25, spread=0.0)
    points = np.array(evaluation_points(BUDGET_STEPS, 25))
    expected = [points[np.argmax(run.evals["return_mean"] >= TARGETS[-1])] for run in read_runs(tmp_path)]
    row = board_of(tmp_path).per_task["a/b"][0]
    assert (row.n_reached, row.n_targeted) == (3, 3)
    assert row.median_steps == np.median(expected)
    assert row.rmst_steps is not None
    assert row.rmst_steps.estimate == pytest.approx(np.mean(expected))


def test_a_failed_run_scores_zero_from_where_it_stopped(folder: Path) -> None:
    cell = board_of(folder).tasks[0].agents["poor"]
    assert cell.finished.tolist() == [True, True, True, False, False]
    assert (cell.scores[3, :4] > 0).any()
    assert (cell.scores[3, 4:] == 0).all()
    assert cell.final_scores[3] == 0
    assert cell.final_scores[4] == pytest.approx(cell.scores[4, 8] / 2)  # one of its last two evaluations was made
    assert cell.scores[4, 8] > 0
    assert np.isinf(cell.hit_steps[3:]).all()
    assert np.isnan(cell.final_column("action_rate_rms_per_s")[3:]).all()


def test_a_run_that_had_reached_the_target_before_it_failed_is_censored(tmp_path: Path) -> None:
    write_run(tmp_path, "a/b", "x", 0, level=1.0, spread=0.0)
    write_run(tmp_path, "a/b", "x", 1, level=1.0, spread=0.0, status="diverged", error="nan", n_evals_made=24)
    hits = board_of(tmp_path).tasks[0].agents["x"].hit_steps
    assert np.isfinite(hits).tolist() == [True, False]


def test_a_return_below_the_random_anchor_scores_zero(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b"], {"worse": -2.0}, n_seeds=2)
    assert board_of(tmp_path).ranked[0].score.estimate == 0.0


def test_failed_runs_stand_on_the_page_with_their_reason(html: str) -> None:
    section = html[html.index('id="failed"') : html.index('id="method"')]
    assert "action is not finite" in section
    assert "wall limit" in section
    assert [status in section for status in ("diverged", "timeout", "error")] == [True] * 3


def test_an_interrupted_run_is_named_and_left_out(report: tuple[str, Path], html: str) -> None:
    assert "control/pendulum good seed 5" in html
    table = pd.read_csv(report[1].parent / "leaderboard.csv")
    assert table.query("task == 'control/pendulum' and agent == 'good'")["n_runs"].tolist() == [3]


def test_an_agent_that_lacks_a_task_has_no_rank_and_leads_nothing(folder: Path) -> None:
    board = board_of(folder)
    assert [row.agent for row in board.ranked] == ["good", "poor"]
    assert {row.agent: row.rank for row in board.partial} == {"specialist": None, HOSTILE: None}
    assert board.per_task["highway/lane-change"][0].agent == "specialist"
    first, *rest = headline(board)
    assert first.startswith("Of the 2 agents with runs on every task, good leads")
    assert rest[0] == "Without runs on every task, specialist leads or ties on 1 of 1 tasks it ran."
    assert HOSTILE not in " ".join((first, *rest))  # it leads nowhere


def test_where_nobody_ran_everything_those_that_lead_are_named(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b"], {"x": 0.9, "y": 0.2})
    write_suite(tmp_path, ["a/c"], {"z": 0.5})
    assert headline(board_of(tmp_path)) == [
        "No agent has runs on all 2 tasks yet, so there is no overall order.",
        "Without runs on every task, x leads or ties on 1 of 1 tasks it ran, z on 1 of 1.",
    ]


def test_a_single_complete_agent_is_compared_with_nobody(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b", "a/c"], {"x": 0.5})
    write_suite(tmp_path, ["a/c"], {"poor": 0.1})
    first = headline(board_of(tmp_path))[0]
    assert re.fullmatch(r"x is the only agent with runs on every task; it scores 0\.\d\d \(.+\)\.", first)


def test_agents_that_cannot_be_told_apart_share_a_rank(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b", "a/c"], {"twin-1": 0.8, "twin-2": 0.8, "last": 0.2}, spread=0.1)
    board = board_of(tmp_path)
    assert {row.agent: row.rank for row in board.ranked} == {"twin-1": 1, "twin-2": 1, "last": 3}
    first = headline(board)[0]
    assert "twin-1" in first
    assert "twin-2" in first
    assert "share the lead, ahead of last" in first
    text, page = write_report(tmp_path)
    assert text.count("1=") == 2
    leaderboard = page.read_text(encoding="utf-8").split("</table>")[0]
    assert leaderboard.count('<td data-value="1">1=</td>') == 2


def test_many_agents_are_counted_instead_of_named(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b"], {f"variant-{i}": 0.8 for i in range(6)}, n_seeds=1, spread=0.0)
    assert headline(board_of(tmp_path))[0] == "6 agents score 0.79 to 0.79: who leads is not sure yet."


def test_a_single_seed_gives_no_interval_and_no_order(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b"], {"x": 0.9, "y": 0.1}, n_seeds=1)
    text, page = write_report(tmp_path)
    assert re.match(r"x scores 0\.9\d, y scores 0\.\d\d: who leads is not sure yet\.", text)
    assert "share the lead" not in text
    assert "no interval can be given" in text
    assert text.count("1=") == 2
    assert "inf" not in text
    assert page.read_text(encoding="utf-8").count(">no interval<") > 10


def test_a_suite_in_which_every_run_failed_is_reported(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, "a/b", "x", seed, status="error", error="boom", n_evals_made=seed * 3)
    text, page = write_report(tmp_path)
    assert "0.00" in text
    assert page.read_text(encoding="utf-8").count("boom") == 2
    assert not list(page.parent.glob("figures/*score-smoothness*"))


def test_a_task_without_targets_has_no_time_to_target(tmp_path: Path) -> None:
    write_run(tmp_path, "a/b", "x", 0, targets=[])
    _, page = write_report(tmp_path)
    assert {path.name for path in page.parent.glob("figures/a-b-*.svg")} == {
        "a-b-learning-curve.svg",
        "a-b-score-smoothness.svg",
        "a-b-updates-curve.svg",
        "a-b-wall-clock-curve.svg",
    }


def test_columns_only_one_task_has_are_a_table_of_that_task(html: str) -> None:
    assert html.count('<th scope="col">collisions</th>') == 1
    assert html.index("collisions</th>") > html.index('id="task-highway-lane-change"')


def test_a_success_stands_under_the_score_where_the_task_has_one(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b", "a/c"], {"x": 0.9})
    folder = write_run(tmp_path, "a/c", "y", 0, level=0.9)
    rows = read_runs(folder)[0].evals.to_dict("records")
    write_rows(folder / "evals.csv", list(rows[0]), [row | {"success_rate": 0.12} for row in rows])
    html = write_report(tmp_path)[1].read_text(encoding="utf-8")
    table = html[html.index('aria-label="Scores by task"') : html.index('id="convergence"')]
    assert table.count('<span class="ci">success 12 %</span></td>') == 1
    assert table.count("success 0 %") == 0


def test_every_text_from_results_is_escaped(report: tuple[str, Path], html: str) -> None:
    assert HOSTILE not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "<script" not in (report[1].parent / "leaderboard.md").read_text(encoding="utf-8")


def test_the_page_loads_nothing(html: str) -> None:
    assert not re.search(r'(?:src|href)="(?!#)', html)
    assert not re.search(r"url\((?!#|[\"']?#)|@import", html)
    assert "default-src 'none'" in html


def test_the_same_results_give_the_same_bytes(report: tuple[str, Path], folder: Path) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in report[1].parent.rglob("*") if path.is_file()}

    before = contents()
    write_report(folder)
    assert len(before) == 4 + 3 * 13  # leaderboard in three formats and the page; all figures in three
    assert contents() == before


class Outline(HTMLParser):
    """Collects what the page's structure is judged by."""

    VOID = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_says_what_its_parts_are(html: str) -> None:
    outline = Outline()
    outline.feed(html)
    assert outline.open == []
    assert len(set(outline.ids)) == len(outline.ids)
    names = [tag for tag, _ in outline.tags]
    assert names.count("table") == names.count("caption") == 10
    assert all("scope" in attributes for tag, attributes in outline.tags if tag == "th")
    assert all("aria-label" in a or "aria-hidden" in a for tag, a in outline.tags if tag == "svg")
    targets = {a["href"] for tag, a in outline.tags if tag == "a"}
    assert targets <= {f"#{identifier}" for identifier in outline.ids}


def test_figures_are_pictures_of_all_kinds(report: tuple[str, Path]) -> None:
    figures = report[1].parent / "figures"
    names = {path.stem for path in figures.glob("*.svg")}
    assert len(names) == 2 * 5 + 3
    for name in names:
        words = " ".join(ElementTree.parse(figures / f"{name}.svg").getroot().itertext())
        assert "good" in words
        assert (figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        pdf = (figures / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF")
        assert b"CreationDate" not in pdf
