"""Standings as LaTeX tables for papers; they need the package booktabs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hjbbench.report.standings import Leaderboard, Standing
from hjbbench.report.tables import show_bounds, show_number, show_range, show_rank, show_steps
from hjbbench.stats.bootstrap import Interval

ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "–": "--", "−": "$-$",
} | {letter: f"\\{letter}" for letter in "&%$#_{}"}  # fmt: skip
HEADINGS = ("Rank", "Agent", "Score", "Anytime score", "Target reached", "Action rate (1/s)", "$n$", "Failed")


def escape(text: str) -> str:
    """Text as LaTeX prints it; what has no place in a pdfLaTeX font stands as a question mark."""
    escaped = re.sub(r"[\\~^<>|&%$#_{}–−]", lambda match: ESCAPES[match[0]], text)
    return "".join(letter if ord(letter) < 0x180 else "?" for letter in escaped)


def as_latex(board: Leaderboard) -> str:
    """The leaderboard, and a table per task with the median steps to the hardest target."""
    overall = _table(
        HEADINGS,
        [_cells(row) for row in (*board.ranked, *board.partial)],
        f"Suite {escape(board.suite)}: score 0 is a random policy, 1 the reference; 95\\,\\% bootstrap intervals in "
        "brackets; agents that share a rank (=) cannot be told apart; failed runs count.",
        "leaderboard",
    )
    parts = ["% Needs \\usepackage{booktabs}.", overall]
    for number, task in enumerate(board.tasks, start=1):
        rows = [
            (*_cells(row), escape(show_steps(row.median_steps, task.budget_steps))) for row in board.per_task[task.name]
        ]
        caption = f"{escape(task.name)}, {task.budget_steps} decisions per run."
        parts.append(_table((*HEADINGS, "Median steps"), rows, caption, f"task-{number}"))
    return "\n\n".join(parts) + "\n"


def _cells(row: Standing) -> tuple[str, ...]:
    reached = f"{row.n_reached}/{row.n_targeted}" if row.n_targeted else "–"
    rate = row.action_rate_rms_per_s
    return tuple(
        map(
            escape,
            (
                show_rank(row),
                row.agent,
                _with(f"{row.score.estimate:.2f}", show_bounds(row.score)),
                _with(f"{row.anytime.estimate:.2f}", show_bounds(row.anytime)),
                reached,
                _with(show_number(rate.estimate), show_range(rate)) if isinstance(rate, Interval) else "–",
                str(row.n_runs),
                str(row.n_failed),
            ),
        )
    )


def _with(number: str, bounds: str) -> str:
    return f"{number} [{bounds}]"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str) -> str:
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:hjbbench-{label}}}",
        rf"\begin{{tabular}}{{rl{'r' * (len(headings) - 2)}}}",
        r"\toprule",
        " & ".join(headings) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)
