"""The one-minute answer in sentences made from the numbers: who is ahead, by how much, how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from hjbbench.report.standings import Leaderboard, Standing
from hjbbench.report.tables import show_bounds

NAMED = 4
"""A sentence counts more agents than this instead of naming them."""
FEW_SEEDS = 10
"""From this many runs per task on, 95 % intervals covered 95 to 98 % of simulated truths; 72 to 99 % with fewer."""


def headline(board: Leaderboard) -> list[str]:
    """Sentences on the order of the agents; the first one stands alone."""
    if not board.ranked:
        first = f"No agent has runs on all {len(board.tasks)} tasks yet, so there is no overall order."
        return [first, *_rivals(board)]
    groups = [list(rows) for _, rows in groupby(board.ranked, key=lambda row: row.rank)]
    among = f"Of the {len(board.ranked)} agents with runs on every task, " if board.partial else ""
    first = f"{among if len(board.ranked) > 1 else ''}{_lead(groups)}."
    return [first, *_rivals(board), *_ties(groups[1:]), *_doubts(board)]


def _lead(groups: Sequence[Sequence[Standing]]) -> str:
    top = groups[0]
    second = groups[1] if len(groups) > 1 else None
    behind = f", ahead of {_names(second)} with {_score(second[0])}" if second else ""
    if len(top) > 1 and not all(math.isfinite(row.score.low) for row in top):
        # They share a rank because nothing is known of their spread, not because they are alike.
        if len(top) > NAMED:
            estimates = [row.score.estimate for row in top]
            scores = f"{len(top)} agents score {min(estimates):.2f} to {max(estimates):.2f}"
        else:
            scores = ", ".join(f"{row.agent} scores {_score(row)}" for row in top)
        return f"{scores}{behind}: who leads is not sure yet"
    if len(top) > 1:
        return f"{_names(top)} share the lead{behind}: the best of them scores {_score(top[0])}"
    if second is None:
        return f"{top[0].agent} is the only agent with runs on every task; it scores {_score(top[0])}"
    return f"{top[0].agent} leads with a score of {_score(top[0])}{behind}"


def _ties(groups: Sequence[Sequence[Standing]]) -> list[str]:
    return [f"{_names(group)} cannot be told apart." for group in groups if len(group) > 1]


def _rivals(board: Leaderboard) -> list[str]:
    """Who might lead if they had run everywhere: no order without them may look like the whole story."""
    first = [row.agent for rows in board.per_task.values() for row in rows if row.rank == 1]
    rivals = [row for row in board.partial if row.agent in first]
    if not rivals:
        return []
    if len(rivals) > NAMED:
        return [f"Without runs on every task, {len(rivals)} agents lead or tie on a task or more."]
    (head, place), *more = [(row.agent, f"{first.count(row.agent)} of {row.n_tasks}") for row in rivals]
    others = "".join(f", {agent} on {where}" for agent, where in more)
    return [f"Without runs on every task, {head} leads or ties on {place} tasks it ran{others}."]


def _doubts(board: Leaderboard) -> list[str]:
    counts = [len(cell.finished) for task in board.tasks for cell in (task.agents[row.agent] for row in board.ranked)]
    low, high = min(counts), max(counts)
    if low == 1:
        return ["Where an agent has a single seed on a task, no interval can be given and its place is not sure."]
    if low < FEW_SEEDS:
        seeds = f"{low}" if low == high else f"{low} to {high}"
        return [f"All of this rests on {seeds} seeds per task: with so few, the intervals are only rough."]
    return []


def _names(rows: Sequence[Standing]) -> str:
    names = [row.agent for row in rows]
    if len(names) > NAMED:
        return f"{len(names)} agents"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _score(row: Standing) -> str:
    bounds = f" ({show_bounds(row.score)})" if math.isfinite(row.score.low) else ""
    return f"{row.score.estimate:.2f}{bounds}"
