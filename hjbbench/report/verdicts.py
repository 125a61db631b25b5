"""Claims on the page: each verdict with its symbol, its estimate against what was demanded, and its runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hjbbench import claims
from hjbbench.claim import Claim, load_claims
from hjbbench.claims import Verdict
from hjbbench.report.tables import show_number, show_range
from hjbbench.stats.bootstrap import Interval
from hjbbench.store import Run

SYMBOLS = {"holds": "✓", "refuted": "✗", "undecided": "?", "unmeasured": "–"}
MEANINGS = {
    "holds": "the runs show what was demanded",
    "refuted": "the runs show that less is true",
    "undecided": "these runs cannot tell",
    "unmeasured": "there is nothing to compare; the reason stands beside it",
}
QUANTITIES = {
    "faster": "cost of {baseline} over cost of {agent}",
    "smoother": "{axis} of {baseline} over that of {agent}",
    "value": "relative error of the value of {agent}",
    "robust": "share of its score that {agent} keeps",
}


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict, and where its interval lies on a scale common to all claims of its kind."""

    claim: Claim
    verdict: Verdict

    @property
    def demand(self) -> str:
        """What was demanded, as a comparison."""
        return f"{'≤' if self.claim.kind == 'value' else '≥'} {self.claim.demand:g}"

    @property
    def interval(self) -> Interval | None:
        """The estimate with its one-sided bounds, infinite where a single run bounds nothing; None if unmeasured."""
        verdict = self.verdict
        if verdict.estimate is None:
            return None
        low = -math.inf if verdict.ci_low is None else verdict.ci_low
        high = math.inf if verdict.ci_high is None else verdict.ci_high
        return Interval(verdict.estimate, low, high)

    @property
    def quantity(self) -> str:
        """What the estimate is, in words."""
        names = {"agent": self.claim.agent, "baseline": self.claim.baseline, "axis": self.claim.axis}
        axis = f" ({self.claim.axis})" if self.claim.kind == "faster" else ""
        return QUANTITIES[self.claim.kind].format(**names) + axis

    @property
    def bar(self) -> dict[str, float] | None:
        """Positions in [0, 1] of ``low``, ``high``, ``estimate`` and ``demand`` on a logarithmic scale around it.

        The scale spans a factor of 8 to either side of the demand, so that all claims read alike: demand in the middle.
        """
        numbers = (self.verdict.ci_low, self.verdict.ci_high, self.verdict.estimate)
        if any(number is None or not number > 0 for number in numbers):
            return None
        places = [_place(number / self.claim.demand) for number in numbers if number is not None]
        return dict(zip(("low", "high", "estimate"), places, strict=True))


def judge(path: Path, runs: Sequence[Run]) -> list[Judged]:
    """The claims of a file, judged by these runs, in its order; errors as of ``load_claims`` and ``claims.judge``."""
    stated = load_claims(path)
    return [Judged(*pair) for pair in zip(stated, claims.judge(stated, runs), strict=True)]


def judged_by(others: Sequence[Path]) -> str:
    """By which runs the claims are judged: those of the report's folder, and of others."""
    if not others:
        return "Claims are judged by these runs alone."
    return f"Claims are judged by these runs and those of {', '.join(map(str, others))} together."


def as_json(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """The verdicts as claims.json holds them."""
    return claims.to_json([each.verdict for each in judged])


def tally(judged: Sequence[Judged]) -> list[tuple[str, int]]:
    """How many claims got each verdict, in a fixed order."""
    return [(name, sum(each.verdict.verdict == name for each in judged)) for name in SYMBOLS]


def sentence(judged: Sequence[Judged]) -> str:
    """How the claims stand, in words."""
    counts = [f"{name}: {count}" for name, count in tally(judged)]
    return f"Of {len(judged)} claim{'s' if len(judged) != 1 else ''} judged, {', '.join(counts)}."


def measured(judged: Sequence[Judged]) -> list[tuple[str, ...]]:
    """A table of the claims that were measured, its headings first; none where nothing was. Bounds are one-sided."""
    rows: list[tuple[str, ...]] = [("claim", "verdict", "estimate", "bounds", "demanded", "why")]
    for each in judged:
        verdict = each.verdict
        if each.interval is not None:
            estimate, bounds = show_number(verdict.estimate), show_range(each.interval)
            rows.append((verdict.text, verdict.verdict, estimate, bounds, each.demand, verdict.reason))
    return rows if len(rows) > 1 else []


def _place(factor: float) -> float:
    return min(max(0.5 + math.log(factor, 8) / 2, 0.0), 1.0)
