"""A folder of runs -> leaderboard, figures and one page that explains them."""

from __future__ import annotations

import os
from pathlib import Path

from hjbbench import campaign, store
from hjbbench.errors import UserError


def write_report(folder: Path) -> tuple[str, Path]:
    """Write ``report/`` into a folder of runs: index.html, leaderboard.md, leaderboard.csv and figures/.

    Failed runs count; runs that are going on or were interrupted are named and left out. The same results give the same
    bytes.

    Returns:
        The headline and the leaderboard as plain text, and the path of the page.

    Raises:
        UserError: no run that counts, runs of several suites, runs that cannot be compared, or a folder that cannot be
            written.
    """
    from hjbbench.report.cells import collect
    from hjbbench.report.figures import draw_task, looks
    from hjbbench.report.headline import headline
    from hjbbench.report.page import render, stems
    from hjbbench.report.standings import rank
    from hjbbench.report.tables import as_csv, as_markdown, as_text

    runs = store.read_runs(folder)
    counted = [run for run in runs if run.record["status"] != "interrupted"]
    if not counted:
        raise UserError(f"{folder}: {f'{len(runs)} runs, none finished yet' if runs else 'holds no runs'}")
    suites = sorted({run.record["suite"] for run in counted})
    if len(suites) > 1:
        raise UserError(f"{folder}: holds runs of the suites {', '.join(suites)}; report one suite's folder")
    board = rank(suites[0], collect(counted))
    sentences = headline(board)
    styles = looks({run.record["agent"] for run in counted})
    figures = {
        task.name: draw_task(task, board.per_task[task.name], styles, stem)
        for task, stem in zip(board.tasks, stems(board.tasks), strict=True)
    }
    page = folder / "report" / "index.html"
    try:
        (page.parent / "figures").mkdir(parents=True, exist_ok=True)
        for figure in (figure for group in figures.values() for figure in group):
            store.write_atomic(page.parent / "figures" / f"{figure.name}.svg", figure.svg)
            _write_bytes(page.parent / "figures" / f"{figure.name}.png", figure.png)
        store.write_atomic(page.parent / "leaderboard.md", as_markdown(board, sentences))
        store.write_atomic(page.parent / "leaderboard.csv", as_csv(board))
        store.write_atomic(page, render(board, sentences, figures, styles, counted, campaign.status(folder)))
    except OSError as problem:
        raise UserError(f"{page.parent}: cannot be written ({problem.strerror})") from None
    return "\n".join([*sentences, "", as_text(board)]), page


def _write_bytes(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
