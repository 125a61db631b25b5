"""Is one agent better than another, and could these runs tell?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from hjbbench.errors import UserError
from hjbbench.stats.bootstrap import iqm, named_runs, percentile_interval, resample


def probability_of_improvement(x: Mapping[str, ArrayLike], y: Mapping[str, ArrayLike]) -> float:
    """Chance that a run of x scores above a run of y on a task drawn at random; a tie counts one half.

    The mean over tasks of the Mann-Whitney U over its largest value (Agarwal et al. 2021, arXiv:2108.13264). For times,
    where less is better, swap the arguments; two misses tie.

    Args:
        x, y: scores (n_runs,) on every task, by its name.

    Raises:
        UserError: unlike tasks, a task without runs, or NaN.
    """
    x, y = named_runs(x, "x", finite=False), named_runs(y, "y", finite=False)
    same_tasks({"x": x, "y": y})
    return float(np.mean([_win_share(x[task], y[task]) for task in x]))


def mann_whitney(x: ArrayLike, y: ArrayLike, alternative: str = "two-sided") -> float:
    """Exact p-value of the Mann-Whitney test that runs of x and y come from one distribution.

    Ties (two misses, say) are judged as if they could all be told apart, which errs towards no difference. The smallest
    two-sided p that n runs a side can give: 0.1 for 3, 0.029 for 4, 0.0079 for 5, 1.1e-5 for 10.

    Args:
        x, y: scores or times (n_runs,) on one task; infinity stands for a miss.
        alternative: "two-sided", "less" (x tends to be smaller) or "greater".

    Raises:
        UserError: no run, NaN, or another alternative.
    """
    from scipy.stats import mannwhitneyu

    if alternative not in ("two-sided", "less", "greater"):
        raise UserError(f"alternative {alternative!r}: one of 'two-sided', 'less', 'greater' is needed")
    runs = named_runs({"x": x, "y": y}, "runs", finite=False)
    return float(mannwhitneyu(runs["x"], runs["y"], alternative=alternative, method="exact").pvalue)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values that keep the chance of any false claim among all of them (Holm 1979).

    Raises:
        UserError: a p-value outside [0, 1].
    """
    for name, p in p_values.items():
        if not 0 <= p <= 1:
            raise UserError(f"p-value {p} of {name!r}: a number in [0, 1] is needed")
    names = sorted(p_values, key=lambda name: p_values[name])
    steps = [(len(names) - rank) * p_values[name] for rank, name in enumerate(names)]
    return {name: min(1.0, float(p)) for name, p in zip(names, np.maximum.accumulate(steps), strict=True)}


def tie_groups(
    scores: Mapping[str, Mapping[str, ArrayLike]],
    *,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
) -> dict[str, int]:
    """Rank of every agent, shared by those that cannot be told apart from the best of their group: 1, 1, 3, ...

    Agents are ordered by IQM. The best one leads a group; the next ones join it until the bootstrap interval of the
    difference to the leader, runs resampled within each task, leaves out 0. That agent leads the next group. An agent
    with a single run on a task is told apart from nobody: it has the rank of those it stands among and leads none.

    Args:
        scores: scores (n_runs,) of every agent on every task; all agents on the same tasks.
        rng, n_resamples, confidence: as in ``stratified_interval``.

    Raises:
        UserError: no agent, unlike tasks, or scores that are not finite.
    """
    runs = {agent: named_runs(tasks, f"scores of {agent!r}") for agent, tasks in scores.items()}
    same_tasks(runs)
    estimates = {agent: float(iqm(np.concatenate(list(tasks.values())))) for agent, tasks in runs.items()}
    ranks: dict[str, int] = {}
    leader, rank = "", 1
    for place, agent in enumerate(sorted(estimates, key=lambda name: -estimates[name]), start=1):
        if min(map(len, runs[agent].values())) > 1:
            if leader and _behind(runs[leader], runs[agent], rng, n_resamples, confidence):
                leader, rank = agent, place
            leader = leader or agent
        ranks[agent] = rank
    return ranks


MIN_REFERENCES, MIN_NEW = 4, 3
"""Reference and new runs that the rule for what is too fast needs: fewer have no spread once the extremes are out."""


def fastest_acceptable_mean(references: ArrayLike, n_runs: int, alpha: float = 0.05) -> float:
    """Trimmed mean time below which ``n_runs`` new runs are significantly faster than the reference runs.

    MLPerf's rule for reference convergence points: fastest and slowest run of either side are left out, and a one-sided
    pooled t-test takes the spread of the references that remain for both sides (mlcommons/training_policies,
    training_rules.adoc, whose worked examples divide by the number of runs in the standard deviation).

    Args:
        references: times of at least 4 reference runs, all of which reached the target.
        n_runs: number of new runs, at least 3.
        alpha: level of the test.

    Raises:
        UserError: too few runs, or times that are not finite.
    """
    from scipy.stats import t

    kept = np.sort(named_runs({"reference": references}, "times")["reference"])[1:-1]
    if len(kept) < MIN_REFERENCES - 2 or n_runs < MIN_NEW:
        needed = f"at least {MIN_REFERENCES} and {MIN_NEW} are needed"
        raise UserError(f"{len(kept) + 2} reference runs and {n_runs} new ones: {needed}")
    n_kept = n_runs - 2
    standard_error = kept.std() * np.sqrt(1 / len(kept) + 1 / n_kept)
    return float(kept.mean() - t.isf(alpha, len(kept) + n_kept - 2) * standard_error)


def too_fast(times: ArrayLike, references: ArrayLike, alpha: float = 0.05) -> bool:
    """Whether runs converge so much faster than the reference runs that a mistake is more likely than progress.

    Compares their mean without the fastest and the slowest with ``fastest_acceptable_mean``, whose errors it shares.
    More than one miss among ``times`` is never too fast.
    """
    runs = np.sort(named_runs({"new": times}, "times", finite=False)["new"])
    limit = fastest_acceptable_mean(references, len(runs), alpha)
    return bool(runs[1:-1].mean() < limit)


def _behind(leader: dict, agent: dict, rng: np.random.Generator, n_resamples: int, confidence: float) -> bool:
    """Whether the interval of IQM(leader) - IQM(agent) lies above 0."""
    leader_iqm, agent_iqm = (
        iqm(np.concatenate([resample(runs[task], rng, n_resamples) for task in leader], axis=-1), axis=-1)
        for runs in (leader, agent)
    )
    groups = [*leader.values(), *agent.values()]
    return percentile_interval(np.nan, np.subtract(leader_iqm, agent_iqm), groups, confidence).low > 0


def _win_share(x: np.ndarray, y: np.ndarray) -> float:
    return float((x[:, None] > y).mean() + (x[:, None] == y).mean() / 2)


def same_tasks(agents: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    """The tasks all agents share; raises UserError where one lacks a task of another."""
    if not agents:
        raise UserError("no agent given, at least one is needed")
    first = next(iter(agents))
    for agent, tasks in agents.items():
        if tasks.keys() != agents[first].keys():
            raise UserError(
                f"{agent!r} has tasks {sorted(tasks)}, {first!r} has {sorted(agents[first])}; they must agree"
            )
    return list(agents[first])
