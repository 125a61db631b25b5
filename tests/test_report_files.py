"""Figures and tables of the report: names, labels, formats for papers."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from hjbbench.report.cells import collect
from hjbbench.report.drawing import looks
from hjbbench.report.figures import draw_costs, draw_task
from hjbbench.report.latex import as_latex, escape
from hjbbench.report.page import inline, stems
from hjbbench.report.standings import Leaderboard, rank
from hjbbench.report.tables import as_markdown, show_number
from hjbbench.store import read_runs
from tests.synthetic import write_run, write_suite


def board_of(root: Path) -> Leaderboard:
    return rank("synthetic", collect(read_runs(root)))


def test_an_agent_looks_the_same_whatever_its_place() -> None:
    styles = looks(["c", "a", "b", *map(str, range(20))])
    assert styles == looks(sorted(styles))
    assert len({(look.colour, look.marker) for look in styles.values()}) == 23


def test_names_that_other_software_would_read_as_markup_are_drawn_as_they_are(tmp_path: Path) -> None:
    write_run(tmp_path, "a/$b", "$x_{1}$ & co", 0)
    board = board_of(tmp_path)
    for figure in draw_task(board.tasks[0], board.per_task["a/$b"], looks(["$x_{1}$ & co"]), "t"):
        assert "$x_{1}$ & co" in " ".join(ElementTree.fromstring(figure.svg).itertext())


def test_names_of_files_stay_in_their_folder_and_apart(tmp_path: Path) -> None:
    for task in ("a/b", "a-b"):
        write_run(tmp_path, task, "x", 0)
    write_run(tmp_path, "c", "x", 0, task="../../c")
    assert stems(collect(read_runs(tmp_path))) == ["c", "a-b", "a-b-"]


def test_names_beside_a_figure_do_not_cover_each_other(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b"], {f"agent-{i}": 0.9 for i in range(12)}, n_seeds=2)
    board = board_of(tmp_path)
    svg = draw_task(board.tasks[0], board.per_task["a/b"], looks(board.tasks[0].agents), "t")[0].svg
    heights = sorted(float(y) for y in re.findall(r'y="(\S+?)"[^>]*>agent-', svg))
    assert len(heights) == 12
    assert np.diff(heights).min() > 10


@pytest.mark.parametrize(("rougher", "log"), [(3.0, False), (300.0, True)])
def test_rates_stand_on_a_logarithmic_axis_only_where_they_span_a_decade(
    tmp_path: Path, rougher: float, log: bool
) -> None:
    for agent, rate in (("calm", 1.0), ("rough", rougher)):
        write_run(tmp_path, "a/b", agent, 0, action_rate=rate)
    board = board_of(tmp_path)
    figures = draw_task(board.tasks[0], board.per_task["a/b"], looks(board.tasks[0].agents), "t")
    (figure,) = (figure for figure in figures if figure.name.endswith("score-smoothness"))
    words = " ".join(ElementTree.fromstring(figure.svg).itertext())
    assert ("(log scale)" in words) == ("(log scale)" in figure.reading) == log


def test_wall_clock_curves_say_whether_they_compare(tmp_path: Path) -> None:
    write_run(tmp_path, "a/b", "x", 0)
    write_run(tmp_path, "a/c", "x", 0)
    write_run(tmp_path, "a/c", "x", 1, machine={"system": "Linux", "cpu": "another", "n_cores": 8})
    write_run(tmp_path, "a/d", "x", 0)
    write_run(tmp_path, "a/d", "x", 1, speed_gflops=30.0)
    board = board_of(tmp_path)
    readings = [draw_costs(task, board.per_task[task.name], looks("x"), "t")[1].reading for task in board.tasks]
    assert "found it equally fast, so the times compare" in readings[0]
    assert "need not compare: the runs come from 2 different machines." in readings[1]
    assert "need not compare: the machine was between 30 and 80 GFLOP/s fast." in readings[2]


def test_a_figure_on_the_page_takes_its_colours_and_keeps_its_places(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b"], {"x": 0.9}, n_seeds=2)
    board = board_of(tmp_path)
    figure = draw_task(board.tasks[0], board.per_task["a/b"], looks("x"), "t")[0]
    shown = str(inline(figure, "a <label>"))
    assert 'aria-label="a &lt;label&gt;"' in shown
    assert "var(--ink)" in shown
    assert "#ffffff" not in shown

    def places(svg: str) -> list[float]:
        return [float(n) for d in re.findall(r' d="([^"]*)"', svg) for n in re.findall(r"-?\d+\.?\d*", d)]

    full = places(figure.svg[figure.svg.index("<svg") :])
    assert len(full) > 100
    assert places(shown) == pytest.approx(full, abs=0.01)


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("50 % & more_of #1", r"50 \% \& more\_of \#1"),
        (r"a\b{c}", r"a\textbackslash{}b\{c\}"),
        ("0.1–0.2, −3", "0.1--0.2, $-$3"),
        ("< 10,000 ~ x^2 | $", r"\textless{} 10,000 \textasciitilde{} x\textasciicircum{}2 \textbar{} \$"),
        ("é 漢", "é ?"),
    ],
)
def test_latex_prints_text_as_it_is(text: str, latex: str) -> None:
    assert escape(text) == latex


def test_latex_tables_have_a_row_per_agent_and_as_many_cells_as_headings(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b"], {"x_1 & 2": 0.9, "y": 0.2}, n_seeds=2)
    latex = as_latex(board_of(tmp_path))
    tables = latex.split(r"\begin{tabular}")[1:]
    assert len(tables) == 2
    for table in tables:
        columns = re.match(r"\{([lr]+)\}", table)
        assert columns is not None
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert len(rows) == 3
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns[1])}
        assert r"x\_1 \& 2" in table


def test_every_number_of_the_markdown_table_has_its_interval_and_runs(tmp_path: Path) -> None:
    write_suite(tmp_path, ["a/b"], {"x": 0.9}, n_seeds=3)
    row = board_of(tmp_path).per_task["a/b"][0]
    assert row.action_rate_rms_per_s is not None
    low, high = row.action_rate_rms_per_s.low, row.action_rate_rms_per_s.high
    assert low < row.action_rate_rms_per_s.estimate < high
    cells = as_markdown(board_of(tmp_path), ["A sentence."]).splitlines()[-1].split(" | ")
    assert cells[6] == f"{show_number(row.action_rate_rms_per_s.estimate)} ({show_number(low)}–{show_number(high)})"
    assert cells[8] == "3"
