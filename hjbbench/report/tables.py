"""Standings as tables: the numbers as people read them, and whole tables as plain text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence

from hjbbench.report.parts import Part
from hjbbench.report.standings import Leaderboard, Standing
from hjbbench.stats.bootstrap import Interval


def show_number(value: float | None) -> str:
    """Three significant digits or a whole number, or a dash for what was not measured."""
    if value is None or math.isnan(value):
        return "–"
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}").replace("-", "−")


def show_steps(value: float | None, budget_steps: int) -> str:
    """A step count; a median beyond the budget is only known to be beyond it."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if math.isfinite(value) else f"> {budget_steps:,}"


def show_bounds(interval: Interval, digits: int = 2) -> str:
    """The bounds of an interval; "no interval" where a single run cannot bound it."""
    return _bounds(interval, lambda value: f"{value:,.{digits}f}")


def show_rank(row: Standing) -> str:
    """The rank, with "=" where it is shared."""
    return "–" if row.rank is None else f"{row.rank}{'=' if row.shared else ''}"


def show_range(interval: Interval | None) -> str:
    """The bounds of an interval of any magnitude; empty where nothing was measured."""
    if interval is None:
        return ""
    return _bounds(interval, show_number, " to " if interval.low < 0 else "–")


def show_difference(value: float, form: str = ".2f") -> str:
    """A difference, signed; ``form`` suits scores, ".2g" any magnitude."""
    return f"{value:+{form}}".replace("-", "−")


def show_differences(interval: Interval, form: str = ".2f") -> str:
    """The bounds of a difference."""
    return _bounds(interval, lambda value: show_difference(value, form), " to ")


def _bounds(interval: Interval, show: Callable[[float], str], between: str = "–") -> str:
    """Both bounds as ``show`` writes them; a single run cannot bound anything."""
    if not math.isfinite(interval.low):
        return "no interval"
    return f"{show(interval.low)}{between}{show(interval.high)}"


HEADINGS = ("rank", "agent", "score", "95 % interval", "anytime score", "target reached", "action rate (1/s)",
            "s per 1000 steps", "runs", "failed")  # fmt: skip
MEANING = (
    "Score: 0 is a random policy, 1 the reference frozen with the task; interquartile mean over tasks and seeds of the "
    "last fifth of evaluations; 95 % intervals in brackets. Agents that share a rank (=) cannot be told apart. A "
    "failed run scores 0 from where it stopped."
)


def texts(row: Standing, *, intervals: bool) -> tuple[str, ...]:
    """A standing under ``HEADINGS``; ``intervals`` puts them in brackets behind the other numbers, too."""

    def number(value: Interval | None) -> str:
        return _with_range(value) if intervals or value is None else show_number(value.estimate)

    anytime = f"{row.anytime.estimate:.2f}" + (f" ({show_bounds(row.anytime)})" if intervals else "")
    reached = f"{row.n_reached}/{row.n_targeted}" if row.n_targeted else "–"
    return (
        show_rank(row), row.agent, f"{row.score.estimate:.2f}", show_bounds(row.score), anytime, reached,
        number(row.action_rate_rms_per_s), number(row.wall_s_per_1000_steps), str(row.n_runs), str(row.n_failed),
    )  # fmt: skip


def _with_range(value: Interval | None) -> str:
    return "–" if value is None else f"{show_number(value.estimate)} ({show_range(value)})"


def _with_differences(value: Interval | None, form: str = ".2f") -> str:
    return "–" if value is None else f"{show_difference(value.estimate, form)} ({show_differences(value, form)})"


def as_text(board: Leaderboard) -> str:
    """The leaderboard in aligned columns for a terminal; partial agents stand below, without a rank."""
    rows = [HEADINGS, *(texts(row, intervals=False) for row in (*board.ranked, *board.partial))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


PART_HEADINGS = ("variant", "changed", "task", "scores are", "score", "anytime score", "action rate", "time",
                 "energy distance", "seeds")  # fmt: skip


def as_markdown(
    board: Leaderboard,
    headline: Sequence[str],
    parts: Sequence[Part] = (),
    claims: Sequence[Sequence[str]] = (),
    judged_by: str = "",
) -> str:
    """The headline, the leaderboard, claims under their headings, variants against their agents, a table per task.

    ``judged_by`` says of the claims by which runs they are judged.
    """
    rows = [HEADINGS, *(texts(row, intervals=True) for row in (*board.ranked, *board.partial))]
    blocks = [f"# {_md(board.suite)}", *map(_md, headline), MEANING, _md_table(rows)]
    if board.partial:
        blocks.append("Agents without a rank lack some task, so their figures compare with no other row.")
    if claims:
        blocks += ["## Claims that these runs measure", _md(judged_by), _md_table(claims)]
    if parts:
        rows = [PART_HEADINGS]
        for part in parts:
            scores = map(_with_differences, (part.score, part.anytime))
            ratios = map(_with_range, (part.action_rate, part.wall_s))
            distance = _with_differences(part.energy_distance, ".2g")
            rows.append(
                (part.variant, part.changed, part.task, part.says, *scores, *ratios, distance, str(part.n_seeds))
            )
        parts_are = (
            "Scores and the learned noise's energy distance from held-out transitions less the agent's own, action "
            "rate and time per decision over it, seed by seed."
        )
        blocks += ["## Which part earns its keep", parts_are, _md_table(rows)]
    for task in board.tasks:
        rows = [(*HEADINGS, "median steps to target")]
        for row in board.per_task[task.name]:
            rows.append((*texts(row, intervals=True), show_steps(row.median_steps, task.budget_steps)))
        blocks += [f"## {_md(task.name)}", _md_table(rows)]
    return "\n\n".join(blocks) + "\n"


def _md_table(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *([_md(cell) for cell in row] for row in rows[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _md(text: str) -> str:
    """Text as Markdown shows it: no tag and no table cell of its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")


CSV_COLUMNS = (
    "task", "agent", "rank", "n_runs", "n_failed", "score", "score_low", "score_high", "anytime_score",
    "anytime_score_low", "anytime_score_high", "n_reached", "n_targeted", "median_steps_to_target",
    "rmst_steps_to_target", "rmst_steps_low", "rmst_steps_high", "action_rate_rms_per_s", "action_rate_low",
    "action_rate_high", "wall_s_per_1000_steps", "wall_s_low", "wall_s_high",
)  # fmt: skip


def as_csv(board: Leaderboard) -> str:
    """All standings: the overall ones first, with an empty task. An unknown figure is empty; inf is a missed target."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    groups = [("", [*board.ranked, *board.partial]), *board.per_task.items()]
    for task, rows in groups:
        for row in rows:
            values = (
                row.rank, row.n_runs, row.n_failed, *_three(row.score), *_three(row.anytime), row.n_reached,
                row.n_targeted, row.median_steps, *_three(row.rmst_steps), *_three(row.action_rate_rms_per_s),
                *_three(row.wall_s_per_1000_steps),
            )  # fmt: skip
            writer.writerow([task, row.agent, *map(_csv, values)])
    return buffer.getvalue()


def _three(interval: Interval | None) -> tuple[float | None, float | None, float | None]:
    """Estimate and bounds; the bounds are empty where nothing bounds the estimate."""
    if interval is None:
        return None, None, None
    bounded = math.isfinite(interval.low)
    return interval.estimate, interval.low if bounded else None, interval.high if bounded else None


def _csv(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.8g}"
