"""A folder of runs -> leaderboard, figures and one page that explains them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hjbbench import campaign, store
from hjbbench.errors import UserError


def write_report(folder: Path, claims: Path | None = None, others: Sequence[Path] = ()) -> tuple[str, Path]:
    """Write ``report/`` into a folder of runs: index.html, leaderboard.md, .csv and .tex, claims.json and figures/.

    Failed runs count; runs that are going on or were interrupted are named and left out. The same results give the same
    bytes.

    Args:
        claims: a claims.toml to judge by these runs; without it the page says nothing of claims.
        others: folders of runs by which the claims are judged too; nothing else of the report is about them.

    Returns:
        The headline and the leaderboard as plain text, and the path of the page.

    Raises:
        UserError: no run that counts, runs of several suites, runs that cannot be compared, folders that share an
            agent on a task, claims that cannot be read, or a folder that cannot be written.
    """
    from hjbbench.report.cells import collect
    from hjbbench.report.convergence import convergences, resolution
    from hjbbench.report.drawing import looks
    from hjbbench.report.exactness import draw_dimensions, exactness
    from hjbbench.report.figures import draw_costs, draw_task
    from hjbbench.report.headline import headline
    from hjbbench.report.latex import as_latex
    from hjbbench.report.page import Contents, render, stems
    from hjbbench.report.parts import parts
    from hjbbench.report.profiles import draw_profiles
    from hjbbench.report.published import draw_published
    from hjbbench.report.rates import draw_orders, rates
    from hjbbench.report.standings import rank
    from hjbbench.report.suite_figures import draw_scores, draw_suite
    from hjbbench.report.tables import as_csv, as_markdown, as_text
    from hjbbench.report.verdicts import as_json, judge, judged_by, measured, sentence

    runs, *also = store.read_together([folder, *others])
    counted = [run for run in runs if run.record["status"] != "interrupted"]
    if not counted:
        raise UserError(f"{folder}: {f'{len(runs)} runs, none finished yet' if runs else 'holds no runs'}")
    suites = sorted({run.record["suite"] for run in counted})
    if len(suites) > 1:
        raise UserError(f"{folder}: holds runs of the suites {', '.join(suites)}; report one suite's folder")
    board = rank(suites[0], collect(counted))
    judged = judge(claims, [run for found in (counted, *also) for run in found]) if claims else None
    evidence = judged_by(others)
    sentences = headline(board) + ([sentence(judged)] if judged is not None else [])
    exact = exactness(counted)
    styles = looks({run.record["agent"] for run in counted} | {row.solver for row in exact})
    named = list(zip(board.tasks, stems(board.tasks), strict=True))
    ranked = [row.agent for row in board.ranked]
    distributions = convergences(board.tasks, ranked)
    exact_rates = rates(exact)
    solvers = {row.agent for row in exact}  # their variants are judged by their errors
    variants = parts([run for run in counted if run.record["agent"] not in solvers])
    contents = Contents(
        exact=exact,
        parts=variants,
        exact_rates=exact_rates,
        exact_figures=draw_profiles(counted, styles)
        + draw_dimensions(exact, styles)
        + draw_orders(exact_rates, styles),
        board=board,
        headline=sentences,
        judged=judged,
        judged_by=evidence,
        convergences=distributions,
        resolution=resolution(board.tasks, ranked),
        suite_figures=draw_suite(board, distributions, styles),
        task_figures={
            task.name: [
                figure
                for kind in (draw_task, draw_published)
                for figure in kind(task, board.per_task[task.name], styles, stem)
            ]
            for task, stem in named
        },
        cost_figures={task.name: draw_costs(task, board.per_task[task.name], styles, stem) for task, stem in named},
        styles=styles,
        runs=counted,
        status=campaign.status(folder),
    )
    figures = [draw_scores(board), *contents.suite_figures, *contents.exact_figures]
    for group in (*contents.task_figures.values(), *contents.cost_figures.values()):
        figures += group
    markdown = as_markdown(board, sentences, variants, measured(judged or []), evidence)
    page = folder / "report" / "index.html"
    try:
        (page.parent / "figures").mkdir(parents=True, exist_ok=True)
        for figure in figures:
            path = page.parent / "figures" / figure.name
            _write_bytes(path.with_name(f"{figure.name}.svg"), figure.svg.encode())
            _write_bytes(path.with_name(f"{figure.name}.png"), figure.png)
            _write_bytes(path.with_name(f"{figure.name}.pdf"), figure.pdf)
        store.write_atomic(page.parent / "leaderboard.md", markdown)
        store.write_atomic(page.parent / "leaderboard.csv", as_csv(board))
        store.write_atomic(page.parent / "leaderboard.tex", as_latex(board))
        if judged is not None:
            store.write_json(page.parent / "claims.json", as_json(judged))
        store.write_atomic(page, render(contents))
    except OSError as problem:
        raise UserError(f"{page.parent}: cannot be written ({problem.strerror})") from None
    return "\n".join([*sentences, "", as_text(board)]), page


def _write_bytes(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
