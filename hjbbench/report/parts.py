"""Which part of an agent earns its keep: every variant of it against the agent itself, task by task, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hjbbench.report.cells import collect
from hjbbench.stats.bootstrap import Interval
from hjbbench.store import Run


@dataclass(frozen=True)
class Part:
    """One variant of an agent on one task, against the agent with the same seeds, which play the same evaluations."""

    variant: str
    original: str
    task: str
    changed: str
    """The settings that differ, as "name=value" of the variant."""
    score: Interval
    """Final score of the variant less the original's, mean over seeds."""
    anytime: Interval
    """The same of the area under the score curve: what learning early is worth."""
    action_rate: Interval | None
    """Action rate of the variant over the original's, geometric mean over the seeds on which both have a positive one;
    None without any."""
    wall_s: Interval | None
    """The same of the training time per decision."""
    energy_distance: Interval | None
    """Last held-out energy distance of the learned noise from the observed one, the variant's less the original's, mean
    over the seeds on which both recorded one (``residual_energy_distance`` in diagnostics.csv); None without any."""
    n_seeds: int

    @property
    def says(self) -> str:
        """What the two scores' intervals say of the change."""
        scores = (self.score, self.anytime)
        worse, better = any(s.high < 0 for s in scores), any(s.low > 0 for s in scores)
        if worse and better:
            return "mixed"
        return "worse" if worse else "better" if better else "no difference shown"


def parts(runs: Sequence[Run]) -> list[Part]:
    """Every variant on every task that the agent it is a variant of ran with the same seeds, by variant and task.

    Raises:
        UserError: as ``collect``.
    """
    ran: dict[str, dict[tuple[str, int], Run]] = {}
    for run in runs:
        ran.setdefault(run.record["agent"], {})[run.record["task"], run.record["seed"]] = run
    found = []
    for variant, own in sorted(ran.items()):
        original = next(iter(own.values())).record.get("variant_of") or ""
        shared = sorted(own.keys() & ran.get(original, {}).keys())
        for task in dict.fromkeys(task for task, _ in shared):
            keys = [key for key in shared if key[0] == task]
            found.append(_part(variant, original, [own[key] for key in keys], [ran[original][key] for key in keys]))
    return found


def _part(variant: str, original: str, own: Sequence[Run], others: Sequence[Run]) -> Part:
    """Compare runs of a task, seed by seed in the same order."""
    (task,) = collect([*own, *others])
    cells = task.agents[variant], task.agents[original]
    return Part(
        variant=variant,
        original=original,
        task=task.name,
        changed=_changed(own[0].record["config"], others[0].record["config"]),
        score=paired_interval(np.subtract(*(cell.final_scores for cell in cells))),
        anytime=paired_interval(np.subtract(*(cell.anytime_scores for cell in cells))),
        action_rate=_ratio(*(cell.final_column("action_rate_rms_per_s") for cell in cells)),
        wall_s=_ratio(*(cell.wall_s_per_1000_steps for cell in cells)),
        energy_distance=_less(_energy_distances(own), _energy_distances(others)),
        n_seeds=len(own),
    )


def paired_interval(differences: np.ndarray) -> Interval:
    """Mean of differences (n_seeds,), seed by seed, with Student's 95 % interval; unbounded for a single seed.

    Not resampled: resamples of two or three seeds stay within the range of these, which lies on one side of 0 every
    second or fourth time although the change does nothing.
    """
    from scipy.special import stdtrit

    n_seeds, mean = len(differences), float(np.mean(differences))
    if n_seeds == 1:
        return Interval(mean, -np.inf, np.inf)
    half = float(stdtrit(n_seeds - 1, 0.975) * np.std(differences, ddof=1) / np.sqrt(n_seeds))
    return Interval(mean, mean - half, mean + half)


def _changed(config: Mapping[str, Any], original: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in config.items() if original.get(name) != value)


def _energy_distances(runs: Sequence[Run]) -> np.ndarray:
    """(n_seeds,): the last one recorded, NaN where there is none."""
    name = "residual_energy_distance"
    tables = [run.diagnostics for run in runs]
    return np.array([np.nan if table is None or name not in table else table[name].iloc[-1] for table in tables])


def _less(variant: np.ndarray, original: np.ndarray) -> Interval | None:
    """Mean difference of values (n_seeds,) where both are there."""
    differences = variant - original
    there = np.isfinite(differences)
    return paired_interval(differences[there]) if there.any() else None


def _ratio(variant: np.ndarray, original: np.ndarray) -> Interval | None:
    """Geometric mean of the ratios of positive values (n_seeds,)."""
    positive = (variant > 0) & (original > 0)  # false where one is NaN
    if not positive.any():
        return None
    logs = paired_interval(np.log(variant[positive] / original[positive]))
    low = np.exp(logs.low) if np.isfinite(logs.low) else -np.inf  # of a single seed there is no interval
    return Interval(float(np.exp(logs.estimate)), float(low), float(np.exp(logs.high)))
