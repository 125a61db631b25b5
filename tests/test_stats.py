"""Intervals over runs and comparisons of agents, against hand-worked values, invariants and simulated truth."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hjbbench.errors import UserError
from hjbbench.stats import bootstrap, comparison, power, profiles
from hjbbench.stats.bootstrap import Interval, iqm, mean_band, optimality_gap, performance_profile, stratified_interval

INF = math.inf
SCORES = {"a": np.array([0.1, 0.4, 0.5, 0.9]), "b": np.array([0.2, 0.3, 0.8, 1.2, 0.7])}

times_lists = st.lists(st.one_of(st.integers(1, 9), st.just(INF)), min_size=1, max_size=12)
few = settings(max_examples=60, deadline=None)
seeded = np.random.default_rng


# Aggregates and their intervals


def test_iqm_cuts_a_quarter_at_either_end():
    assert iqm(range(8)) == 3.5
    assert iqm([0, 1, 2, 1e9]) == 1.5
    assert iqm([0, 1, 5]) == 2  # a quarter of three scores is none
    np.testing.assert_array_equal(iqm(np.arange(16).reshape(2, 8), axis=1), [3.5, 11.5])


def test_optimality_gap_counts_nothing_above_the_reference():
    assert optimality_gap([0.5, 3.0]) == pytest.approx(0.25)
    np.testing.assert_allclose(optimality_gap(np.array([[0.0, 1.0], [2.0, 1.0]]), axis=-1), [0.5, 0.0])


@few
@given(scores=st.lists(st.integers(-100, 100), min_size=1, max_size=20), data=st.data())
def test_iqm_is_equivariant_and_blind_to_order(scores, data):
    shuffled = data.draw(st.permutations(scores))
    assert iqm(shuffled) == pytest.approx(iqm(scores))
    assert iqm(3 * np.array(scores) + 7) == pytest.approx(3 * iqm(scores) + 7)


def test_the_same_generator_gives_the_same_interval_and_another_one_nearly_so():
    runs = {task: seeded(0).normal(size=20) for task in "ab"}
    interval = partial(stratified_interval, runs, np.mean, n_resamples=10_000)
    first, other = interval(rng=seeded(1)), interval(rng=seeded(2))
    assert first == interval(rng=seeded(1))
    assert first != other
    # Standard error of an estimated quantile of a normal sample: sqrt(p (1 - p) / n) over the density there. The 2.5 %
    # of 20 runs are 1.588 % of the resamples, at 2.147 standard deviations, where the density is 0.03979.
    sd = (first.high - first.low) / (2 * 2.147)
    standard_error = math.sqrt(0.01588 * 0.98412 / 10_000) / 0.03979 * sd
    assert abs(first.low - other.low) < 2 * math.sqrt(2) * standard_error
    assert abs(first.high - other.high) < 2 * math.sqrt(2) * standard_error


def test_resampling_stays_within_the_task():
    apart = {"low": np.zeros(6), "high": np.ones(6)}
    assert stratified_interval(apart, np.mean, rng=seeded(0)) == Interval(0.5, 0.5, 0.5)
    pooled = stratified_interval({"one": np.r_[np.zeros(6), np.ones(6)]}, np.mean, rng=seeded(0))
    assert pooled.low < 0.4 < 0.6 < pooled.high


def test_interval_of_a_mean_agrees_with_theory():
    runs = seeded(3).normal(size=400)
    interval = stratified_interval({"a": runs}, np.mean, rng=seeded(0))
    assert interval.estimate == pytest.approx(runs.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * runs.std() / 20, rel=0.05)


def test_interval_of_few_symmetric_runs_is_student_s():
    runs = np.r_[-4.0:5.0]  # 9 runs around 0, s = 2.739
    interval = stratified_interval({"a": runs}, np.mean, rng=seeded(0), n_resamples=200_000)
    student = 2.306 * 2.739 / 3
    assert interval.low == pytest.approx(-student, rel=0.04)  # the mean of 9 runs is nearly normal
    assert interval.high == pytest.approx(student, rel=0.04)


def test_expanded_tail_by_hand():
    # sqrt(5 / 4) times the quantile 2.776 of Student's t with 4 degrees of freedom is 3.104, beyond which lie 0.0954 %.
    assert bootstrap.expanded_tail(0.025, 5) == pytest.approx(0.000954, abs=1e-6)
    assert bootstrap.expanded_tail(0.025, 100_000) == pytest.approx(0.025, rel=1e-3)
    assert bootstrap.expanded_tail(0.5, 3) == pytest.approx(0.5)


@few
@given(tail=st.floats(0.001, 0.5), n_runs=st.integers(4, 50))
def test_tail_probability_undoes_the_expansion(tail, n_runs):
    assert bootstrap.expanded_tail(tail, n_runs) <= tail * (1 + 1e-9)
    assert bootstrap.tail_probability(bootstrap.expanded_tail(tail, n_runs), n_runs) == pytest.approx(tail)


def test_the_smallest_group_sets_the_expansion():
    few_runs = {"a": seeded(0).normal(size=6)}
    beside_many = few_runs | {"b": np.zeros(50)}
    alone = stratified_interval(few_runs, np.mean, rng=seeded(1))
    assert alone == stratified_interval(beside_many, lambda x, axis: x[..., :6].mean(axis), rng=seeded(1))


def test_a_single_run_bounds_nothing():
    alone = {"a": np.array([0.3, 0.4]), "b": np.array([0.5])}
    assert stratified_interval(alone, np.mean, rng=seeded(0)) == Interval(pytest.approx(0.4), -INF, INF)
    _, low, high = mean_band(np.ones((1, 3)), rng=seeded(0))
    assert (low == -INF).all()
    assert (high == INF).all()


@pytest.mark.parametrize(("n_tasks", "n_runs"), [(1, 5), (1, 10), (1, 20), (8, 5), (8, 10), (8, 20)])
def test_coverage_of_the_iqm_interval(n_tasks, n_runs):
    rng, means = seeded(n_runs), np.linspace(0.2, 0.9, n_tasks)
    truth = means.mean()  # the means are symmetric, so is the noise
    covered = 0
    for _ in range(300):
        runs = {str(mean): rng.normal(mean, 0.2, n_runs) for mean in means}
        interval = stratified_interval(runs, rng=rng, n_resamples=1000)
        covered += interval.low <= truth <= interval.high
    most = 0.99 if n_runs >= 10 else 1.0  # the fewer the runs, the wider for several tasks than they would need
    assert 0.91 <= covered / 300 <= most


def test_mean_band_agrees_with_the_interval_of_every_point():
    curves = np.cumsum(seeded(0).normal(size=(10, 4)), axis=1)
    mean, low, high = mean_band(curves, rng=seeded(1), n_resamples=20_000)
    np.testing.assert_allclose(mean, curves.mean(axis=0))
    for point in range(4):
        single = stratified_interval({"a": curves[:, point]}, np.mean, rng=seeded(2), n_resamples=20_000)
        assert low[point] == pytest.approx(single.low, abs=0.05 * (single.high - single.low))
        assert high[point] == pytest.approx(single.high, abs=0.05 * (single.high - single.low))


def test_performance_profile_is_the_share_strictly_above():
    share, low, high = performance_profile(SCORES, [-1.0, 0.5, 1.2], rng=seeded(0))
    np.testing.assert_allclose(share, [1, 4 / 9, 0])
    np.testing.assert_allclose([low[0], high[0], low[2], high[2]], [1, 1, 0, 0])
    assert low[1] < 4 / 9 < high[1]


# Comparisons


@few
@given(x=times_lists, y=times_lists)
def test_improvement_of_x_and_of_y_add_up_to_one(x, y):
    forth, back = ({"a": first, "b": second} for first, second in ((x, y), (y, x)))
    total = comparison.probability_of_improvement(forth, back) + comparison.probability_of_improvement(back, forth)
    assert total == pytest.approx(1)


def test_probability_of_improvement_by_hand():
    x, y = {"a": [1, 3], "b": [INF, INF]}, {"a": [2, 1], "b": [INF, 1]}
    assert comparison.probability_of_improvement(x, y) == pytest.approx((2.5 / 4 + 3 / 4) / 2)
    with pytest.raises(UserError, match="must agree"):
        comparison.probability_of_improvement(x, {"a": [1]})


@pytest.mark.parametrize(("n", "p"), [(3, 0.1), (4, 0.0286), (5, 0.0079), (6, 0.0022), (10, 1.08e-5)])
def test_smallest_p_of_mann_whitney(n, p):
    assert comparison.mann_whitney(range(n), range(n, 2 * n)) == pytest.approx(p, rel=0.02)


def test_mann_whitney_takes_misses_and_sides():
    assert comparison.mann_whitney([INF] * 5, [INF] * 5) == 1
    assert comparison.mann_whitney([1, 2, 3, 4], [INF] * 4, "less") == pytest.approx(1 / 70)
    assert comparison.mann_whitney([1, 2, 3, 4], [INF] * 4, "greater") == pytest.approx(1)
    with pytest.raises(UserError, match="'smaller'"):
        comparison.mann_whitney([1], [2], "smaller")


def test_holm_by_hand():
    adjusted = comparison.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.9})
    assert adjusted == pytest.approx({"a": 0.04, "b": 0.09, "c": 0.09, "d": 0.9})
    assert comparison.holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert comparison.holm({}) == {}
    with pytest.raises(UserError, match="'a'"):
        comparison.holm({"a": math.nan})


def test_tie_groups_share_ranks_and_separate_what_differs():
    noise = seeded(0).normal(0, 0.05, (4, 3, 10))
    levels = {"bad": 0.2, "good": 0.8, "good too": 0.8, "worst": 0.0}
    scores = {
        agent: {f"task {i}": level + noise[a, i] for i in range(3)} for a, (agent, level) in enumerate(levels.items())
    }
    ranks = comparison.tie_groups(scores, rng=seeded(1))
    assert ranks == {"good": 1, "good too": 1, "bad": 3, "worst": 4}
    assert ranks == comparison.tie_groups(scores, rng=seeded(1))


def test_single_runs_and_equal_scores_tell_nobody_apart():
    assert comparison.tie_groups({"x": {"a": [1.0]}, "y": {"a": [0.0]}}, rng=seeded(0)) == {"x": 1, "y": 1}
    assert comparison.tie_groups({"x": {"a": [1.0] * 3}, "y": {"a": [1.0] * 3}}, rng=seeded(0)) == {"x": 1, "y": 1}
    with pytest.raises(UserError, match="must agree"):
        comparison.tie_groups({"x": {"a": [1.0]}, "y": {"b": [0.0]}}, rng=seeded(0))


def test_a_single_run_takes_the_rank_it_stands_among_and_shields_nobody():
    scores = {name: {"a": level + np.linspace(0, 0.01, 5)} for name, level in {"good": 0.8, "bad": 0.2}.items()}
    singles = {"lucky": {"a": [0.9]}, "middling": {"a": [0.5]}, "poor": {"a": [0.1]}}
    ranks = comparison.tie_groups(scores | singles, rng=seeded(0))
    assert ranks == {"lucky": 1, "good": 1, "middling": 1, "bad": 4, "poor": 4}


@pytest.mark.parametrize(
    ("ratio", "n_runs", "chance"), [(2, 5, 0.61), (2, 10, 0.88), (2, 20, 1.0), (1.25, 5, 0.16), (1.25, 20, 0.39)]
)
def test_power_of_the_comparison(ratio, n_runs, chance):
    measured = power.detection_power(n_runs, 0.5, ratio, rng=seeded(0))
    assert measured == pytest.approx(chance, abs=0.03)  # two simulations of 2000 pairs


def test_times_beyond_the_budget_count_in_the_spread():
    """200 samples of three agents, of whose runs 42 %, 8 % and 1 % take longer than the budget."""
    rng = seeded(0)
    spreads, slowest = [], []
    for _ in range(200):
        times = np.array([[0.9], [0.5], [0.3]]) * rng.lognormal(0.0, 0.5, (3, 20))
        medians, log_sd = power.fit_log_times([(np.where(row > 1.0, np.inf, row), 1.0) for row in times])
        spreads.append(log_sd)
        slowest.append(medians[0])
    assert np.mean(spreads) == pytest.approx(0.5, abs=0.02)
    assert np.median(slowest) == pytest.approx(0.9, abs=0.05)


def test_minimum_detectable_ratio_has_the_power_asked_for():
    ratios = [power.minimum_detectable_ratio(n, 0.5, rng=seeded(0)) for n in (2, 3, 5, 10, 20)]
    assert ratios[0] == INF  # two runs a side can never reach 5 %
    assert ratios == sorted(ratios, reverse=True)
    assert power.detection_power(10, 0.5, ratios[3], rng=seeded(1)) == pytest.approx(0.8, abs=0.03)
    assert ratios[3] == power.minimum_detectable_ratio(10, 0.5, rng=seeded(0))
    with pytest.raises(UserError, match="log_sd 0"):
        power.minimum_detectable_ratio(10, 0, rng=seeded(0))


@pytest.mark.parametrize(
    ("references", "mean", "limit", "speedup", "submission", "alarm"),
    [
        ([16, 14, 16, 17, 16, 16, 15, 16, 15, 16], 15.75, 15.21, 0.0353, [15, 15, 15, 16, 16], False),
        ([20, 21, 21, 20, 22, 22, 21, 21, 20, 20], 20.75, 19.93, 0.0412, [19, 19, 19, 20, 21], True),
    ],
)
def test_too_fast_alarm_on_the_published_examples(references, mean, limit, speedup, submission, alarm):
    measured = comparison.fastest_acceptable_mean(references, 5)
    assert round(measured, 2) == limit
    assert round(mean / measured - 1, 4) == speedup
    assert comparison.too_fast(submission, references) is alarm


def test_too_fast_alarm_forgives_one_miss_and_needs_runs():
    references = [16, 14, 16, 17, 16, 16, 15, 16, 15, 16]
    assert comparison.too_fast([8, 8, 8, 8, INF], references)
    assert not comparison.too_fast([8, 8, 8, INF, INF], references)
    with pytest.raises(UserError, match="at least 4 and 3"):
        comparison.too_fast([8, 8], references)
    with pytest.raises(UserError, match="infinity"):
        comparison.too_fast([8, 8, 8], [*references, INF])


def test_time_ratio_profile_by_hand():
    times = {
        "best": {"a": [10, 10, 10], "b": [20, 20, 20], "c": [INF, INF, INF]},
        "slow": {"a": [20, 15, INF], "b": [INF, INF, 1], "c": [INF, 1e6, INF]},
    }
    profile = profiles.time_ratio_profile(times, [1, 1.99, 2, 1e9])
    np.testing.assert_allclose(profile["best"], [2 / 3, 2 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(profile["slow"], [0, 0, 1 / 3, 1 / 3])
    assert profiles.profile_score(times) == pytest.approx({"best": 2 / 3, "slow": (2 / 3) / 3})


def test_the_fastest_agent_everywhere_has_a_full_profile():
    times = {"best": {"a": [1, 2, 3], "b": [5, INF, 4]}, "other": {"a": [4, 5, 6], "b": [INF, INF, 4]}}
    assert profiles.time_ratio_profile(times, [1.0])["best"] == 1
    assert profiles.profile_score(times)["best"] == 1


# Bad input


NAN = {"a": np.array([1.0, math.nan])}


@pytest.mark.parametrize(
    "measure",
    [
        lambda: iqm([1, math.nan]),
        lambda: optimality_gap([1, math.nan]),
        lambda: stratified_interval(NAN, rng=seeded(0)),
        lambda: mean_band(np.full((2, 2), math.nan), rng=seeded(0)),
        lambda: performance_profile(NAN, [0.0], rng=seeded(0)),
        lambda: comparison.probability_of_improvement(NAN, NAN),
        lambda: comparison.mann_whitney([math.nan], [1]),
        lambda: comparison.tie_groups({"x": NAN}, rng=seeded(0)),
        lambda: comparison.tie_groups({}, rng=seeded(0)),
        lambda: comparison.too_fast([1, 2, math.nan], range(5)),
        lambda: profiles.time_ratio_profile({"x": NAN}, [1]),
        lambda: profiles.profile_score({"x": {"a": [0, 0]}}),
        lambda: stratified_interval({}, rng=seeded(0)),
        lambda: stratified_interval({"a": []}, rng=seeded(0)),
        lambda: stratified_interval(SCORES, rng=seeded(0), confidence=95),
        lambda: stratified_interval(SCORES, rng=seeded(0), n_resamples=0),
        lambda: mean_band(np.ones((2, 2)), rng=seeded(0), n_resamples=0),
    ],
)
def test_bad_input_is_refused_in_one_line(measure):
    with pytest.raises(UserError) as caught:
        measure()
    assert "\n" not in str(caught.value)
