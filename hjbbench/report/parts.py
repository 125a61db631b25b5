"""Which part of an agent earns its keep: every variant of it against the agent itself, task by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hjbbench.report.cells import TaskCells
from hjbbench.report.standings import SEED
from hjbbench.stats.bootstrap import Interval, percentile_interval, resample
from hjbbench.stats.ratio import ratio_interval
from hjbbench.store import Run

N_RESAMPLES = 5000


@dataclass(frozen=True)
class Part:
    """One variant of an agent on one task, against the agent."""

    variant: str
    original: str
    task: str
    changed: str
    """The settings that differ, as "name=value" of the variant."""
    score: Interval
    """Mean final score of the variant less the original's."""
    anytime: Interval
    """The same of the area under the score curve: what learning early is worth."""
    action_rate: Interval | None
    """Action rate of the variant over the original's, finished runs; None without a positive one on both sides."""
    wall_s: Interval | None
    """Training time per decision of the variant over the original's; None without any on either side."""
    n_runs: tuple[int, int]
    """Of the variant and of the original."""

    @property
    def says(self) -> str:
        """What the two scores' intervals say of the change."""
        scores = (self.score, self.anytime)
        worse, better = any(s.high < 0 for s in scores), any(s.low > 0 for s in scores)
        return "no difference shown" if worse == better else "worse" if worse else "better"


def parts(tasks: Sequence[TaskCells], runs: Sequence[Run]) -> list[Part]:
    """Every variant on every task where the agent it is a variant of ran too, by variant, then by task."""
    records = {run.record["agent"]: run.record for run in runs}
    variants = {name: record["variant_of"] for name, record in records.items() if record.get("variant_of") in records}
    return [
        _part(task, variant, original, _changed(records[variant]["config"], records[original]["config"]))
        for variant, original in sorted(variants.items())
        for task in tasks
        if {variant, original} <= task.agents.keys()
    ]


def _part(task: TaskCells, variant: str, original: str, changed: str) -> Part:
    cells = task.agents[variant], task.agents[original]
    return Part(
        variant=variant,
        original=original,
        task=task.name,
        changed=changed,
        score=_difference(*(cell.final_scores for cell in cells)),
        anytime=_difference(*(cell.anytime_scores for cell in cells)),
        action_rate=_ratio(*(cell.final_column("action_rate_rms_per_s") for cell in cells)),
        wall_s=_ratio(*(cell.wall_s_per_1000_steps for cell in cells)),
        n_runs=(len(cells[0].finished), len(cells[1].finished)),
    )


def _changed(config: Mapping[str, Any], original: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in config.items() if original.get(name) != value)


def _difference(variant: np.ndarray, original: np.ndarray) -> Interval:
    """Difference of the means of runs (n_runs,), either side resampled on its own."""
    rng = np.random.default_rng(SEED)
    means = [resample(runs, rng, N_RESAMPLES).mean(axis=-1) for runs in (variant, original)]
    return percentile_interval(float(variant.mean() - original.mean()), means[0] - means[1], (variant, original), 0.95)


def _ratio(variant: np.ndarray, original: np.ndarray) -> Interval | None:
    """Ratio of the means of the finite values."""
    sides = [runs[np.isfinite(runs)] for runs in (variant, original)]
    if not all(len(runs) and (runs > 0).all() for runs in sides):
        return None
    top, bottom = ({"the task": runs} for runs in sides)
    return ratio_interval(top, bottom, rng=np.random.default_rng(SEED))
