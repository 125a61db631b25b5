"""What the stored runs make of the claims: holds, refuted, undecided or unmeasured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from typing import Any

import numpy as np

from hjbbench import evidence
from hjbbench.alike import check_alike
from hjbbench.claim import Claim
from hjbbench.errors import UserError, unknown
from hjbbench.evidence import TaskEvidence
from hjbbench.registry import all_agents, all_tasks
from hjbbench.stats.bootstrap import percentile_interval, resample, tail_probability
from hjbbench.stats.comparison import holm
from hjbbench.stats.ratio import mean_ratio
from hjbbench.store import Run

MIN_RUNS = 5
"""Fewer runs than this a side decide nothing: a 5 % bound of four runs is to leave out 0.3 % of their resamples
(``expanded_tail``), but the most extreme one alone, the same run four times, is 4^-4 or 0.4 % of them."""
N_RESAMPLES = 200_000
"""So many that all claims of a file can be decided at once by ten seeds: the rarest share of resamples that is seen
bounds the p-value, and correcting it for the number of claims multiplies it by that."""
MANY_RUNS = 200
"""Further seeds beyond which their number says no more than that the estimate is close to what is demanded."""
EXIT_CODES = {"refuted": 1, "unmeasured": 2, "undecided": 3, "holds": 0}
"""Of ``hjbbench check``, the first verdict found in this order deciding."""


@dataclass(frozen=True)
class Verdict:
    """A claim judged; the fields of claims.json. ``ci_low`` and ``ci_high`` are one-sided bounds at the confidence."""

    name: str
    text: str
    verdict: str
    estimate: float | None
    ci_low: float | None
    ci_high: float | None
    n_runs_agent: int
    n_runs_baseline: int
    per_task: list[dict[str, Any]]
    reason: str
    demand: float


def judge(claims: Sequence[Claim], runs: Sequence[Run]) -> list[Verdict]:
    """Judge all claims together, Holm's correction keeping the chance of any false decision at 1 - confidence.

    Only ended runs count, failed ones included. Raises UserError for a name that neither the registry nor a run knows,
    and for runs that do not compare.
    """
    ended = [run for run in runs if run.record["status"] != "interrupted"]
    check_alike(ended)
    _check_names(claims, ended)
    drafts = [_weigh(claim, ended) for claim in claims]
    adjusted = holm({verdict.name: p for verdict, p in drafts if p is not None})
    return [_decide(claim, verdict, p, adjusted) for claim, (verdict, p) in zip(claims, drafts, strict=True)]


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """0 every claim holds, 1 one is refuted, 2 one could not be measured, 3 one is undecided."""
    found = {verdict.verdict for verdict in verdicts}
    return next((code for name, code in EXIT_CODES.items() if name in found), 0)


def to_json(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """The verdicts as claims.json holds them."""
    return [asdict(verdict) for verdict in verdicts]


def _check_names(claims: Sequence[Claim], runs: Sequence[Run]) -> None:
    agents = {*all_agents(), *(run.record["agent"] for run in runs)}
    tasks = {*all_tasks(), *(run.record["task"] for run in runs)}
    for claim in claims:
        for name in (claim.agent, claim.baseline):
            if name is not None and name not in agents:
                raise UserError(f"claim {claim.name}: {unknown('agent', name, agents)}")
        for glob in claim.tasks:
            if not any(fnmatch(task, glob) for task in tasks):
                raise UserError(f"claim {claim.name}: {unknown('task', glob, tasks)}")


def _gather(claim: Claim, runs: Sequence[Run]) -> dict[str, tuple[list[Run], list[Run], TaskEvidence]]:
    """Per task with runs of the agent or the baseline: the runs of both, and what they say."""
    found = {}
    for task in sorted({run.record["task"] for run in runs}):
        if not any(fnmatch(task, glob) for glob in claim.tasks):
            continue
        own = [run for run in runs if run.record["task"] == task and run.record["agent"] == claim.agent]
        other = [run for run in runs if run.record["task"] == task and run.record["agent"] == claim.baseline]
        if not own and not other:
            continue
        lacking = [name for name, side in ((claim.agent, own), (claim.baseline, other)) if name and not side]
        if lacking:
            found[task] = own, other, TaskEvidence(reason=f"no runs of {lacking[0]}")
            continue
        says = _measure(claim, own, other)
        found[task] = own, other, says
    return found


def _measure(claim: Claim, own: list[Run], other: list[Run]) -> TaskEvidence:
    match claim.kind:
        case "faster":
            return evidence.time_to_target(own, other, claim.axis or "", claim.target)
        case "smoother":
            return evidence.roughness(own, other, claim.axis or "")
        case "value":
            return evidence.value_error(own)
        case _:
            return evidence.return_kept(own)


def _weigh(claim: Claim, runs: Sequence[Run]) -> tuple[Verdict, float | None]:
    """The claim's numbers with a provisional verdict, and the p-value of deciding it the way the estimate points."""
    found = _gather(claim, runs)
    measured = {task: says for task, (_, _, says) in found.items() if says.reason is None}
    per_task = []
    for task, (own, other, says) in found.items():
        row: dict[str, Any] = {"task": task, "n_runs_agent": len(own), "n_runs_baseline": len(other)}
        figures: dict[str, Any] = {"estimate": None, "ci_low": None, "ci_high": None}
        if says.reason is None:
            figures, _ = _bootstrap(claim, {task: says})
        note = "; ".join(filter(None, (says.note, says.caveat)))
        per_task.append(row | figures | {"reason": says.reason or "", "note": note})
    counts = {
        "n_runs_agent": sum(len(own) for own, _, _ in found.values()),
        "n_runs_baseline": sum(len(other) for _, other, _ in found.values()),
    }
    blank = Verdict(claim.name, claim.text, "unmeasured", None, None, None, **counts, per_task=per_task, reason="",
                    demand=claim.demand)  # fmt: skip
    if all(says.says_nothing for says in measured.values()):
        reasons = sorted({f"{task}: {says.reason or says.note}" for task, (_, _, says) in found.items()})
        return replace(
            blank, reason="; ".join(reasons) or f"no runs on these tasks; {MIN_RUNS} seeds are needed to decide"
        ), None
    figures, samples = _bootstrap(claim, measured)
    caveats = sorted({says.caveat for says in measured.values() if says.caveat})
    draft = replace(blank, verdict="undecided", reason="; ".join(caveats), **figures)
    fewest = min(map(len, _groups(measured)))
    if fewest < MIN_RUNS:
        short = [f"{name} on {task}" for task, says in measured.items() for name, side in
                 ((claim.agent, says.agent), (claim.baseline, says.baseline)) if len(side) == fewest]  # fmt: skip
        have, lack = _count(fewest, "run"), _count(MIN_RUNS - fewest, "more seed")
        return replace(draft, reason=f"{have} on a side ({', '.join(short)}): {lack} needed to decide"), None
    draw = np.isclose(samples, claim.demand, rtol=1e-9, atol=0.0)
    less, more = ((side & ~draw).sum() + draw.sum() / 2 for side in (samples < claim.demand, samples > claim.demand))
    return draft, tail_probability((1 + min(less, more)) / (len(samples) + 1), fewest)


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n > 1 else ''}"


def _groups(measured: Mapping[str, TaskEvidence]) -> list[np.ndarray]:
    """The groups of runs that are resampled; a claim without a baseline has none on that side."""
    return [side for says in measured.values() for side in (says.agent, says.baseline) if len(side)]


def _bootstrap(claim: Claim, measured: Mapping[str, TaskEvidence]) -> tuple[dict[str, Any], np.ndarray]:
    """The claim's estimate over the given tasks with its one-sided bounds, and the same estimate of resampled runs.

    The bounds are None where a group has a single run, which bounds nothing.
    """
    rng = np.random.default_rng(0)  # the same runs give the same verdict
    own = {task: says.agent for task, says in measured.items()}
    if claim.baseline:
        other = {task: says.baseline for task, says in measured.items()}
        estimate, samples = mean_ratio(other, own, rng=rng, n_resamples=N_RESAMPLES)
    else:
        estimate = float(np.mean([values.mean() for values in own.values()]))
        samples = np.mean([resample(values, rng, N_RESAMPLES).mean(axis=-1) for values in own.values()], axis=0)
    # One-sided bounds at confidence c are those of the two-sided interval at 2 c - 1.
    interval = percentile_interval(estimate, samples, _groups(measured), 2 * claim.confidence - 1)
    low, high = (bound if math.isfinite(bound) else None for bound in (interval.low, interval.high))
    return {"estimate": estimate, "ci_low": low, "ci_high": high}, samples


def _more_runs(p: float, needed_p: float, draft: Verdict) -> str:
    """How many more seeds would decide a claim were its estimate to stay: the error falls with the root of the runs."""
    from scipy.stats import norm

    sides = [row[side] for row in draft.per_task if not row["reason"] for side in ("n_runs_agent", "n_runs_baseline")]
    n_runs = min(n for n in sides if n)
    distance = float(norm.isf(p))
    more = math.inf if distance <= 0 else n_runs * ((float(norm.isf(needed_p)) / distance) ** 2 - 1)
    if more > MANY_RUNS:
        return f"more than {MANY_RUNS} further seeds would be needed if the estimate stayed"
    return f"about {_count(math.ceil(more), 'further seed')} a side would decide it if the estimate stayed"


def _decide(claim: Claim, draft: Verdict, own_p: float | None, adjusted: Mapping[str, float]) -> Verdict:
    if own_p is None or draft.estimate is None:
        return draft
    unmeasured = [row["task"] for row in draft.per_task if row["reason"]]
    aside = f"; not measured on {', '.join(unmeasured)}" if unmeasured else ""
    aside += f"; {draft.reason}" if draft.reason else ""
    p = adjusted[draft.name]
    if p > 1 - claim.confidence:
        more = _more_runs(own_p, (1 - claim.confidence) * own_p / p, draft)
        return replace(draft, reason=f"the runs cannot tell (adjusted p {p:.2g}); {more}{aside}")
    holds = draft.estimate <= claim.demand if claim.kind == "value" else draft.estimate >= claim.demand
    return replace(draft, verdict="holds" if holds else "refuted", reason=f"adjusted p {p:.2g}{aside}")
