"""Times to a target, off one evaluation curve and over many runs, against hand-worked values and invariants."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hjbbench.errors import UserError
from hjbbench.metrics.convergence import area_under_curve, final_score, hitting_time, regressed_after_hit
from hjbbench.stats import survival
from hjbbench.stats.bootstrap import Interval

INF = math.inf
COSTS = [10, 20, 30, 40, 50, 60]
CURVES = st.lists(st.integers(-20, 20), min_size=1, max_size=30)
TIMES = [120, 150, 180, 300] + [INF] * 6
BUDGET = 500

times_lists = st.lists(st.one_of(st.integers(1, BUDGET), st.just(INF)), min_size=1, max_size=12)
few = settings(max_examples=60, deadline=None)
seeded = np.random.default_rng


# One run


def costs_of(curve: list) -> np.ndarray:
    return 10.0 * np.arange(1, len(curve) + 1)


def test_the_time_is_that_of_the_first_evaluation_of_the_window_that_holds():
    assert hitting_time(COSTS, [0, 5, 1, 5, 5, 5], target=5) == 40
    assert hitting_time(COSTS, [5, 5, 5, 0, 0, 0], target=5) == 10


def test_a_lone_spike_is_a_hit_for_a_window_of_one_only():
    assert hitting_time(COSTS, [0, 9, 0, 0, 0, 0], target=5) == INF
    assert hitting_time(COSTS, [0, 9, 0, 0, 0, 0], target=5, window=1) == 20


def test_a_window_cut_by_the_budget_is_censored():
    assert hitting_time(COSTS, [0, 0, 0, 0, 5, 5], target=5) == INF
    assert hitting_time([10, 20], [5, 5], target=5) == INF


def test_tolerance_forgives_a_dip_but_not_a_low_mean():
    assert hitting_time(COSTS, [0, 6, 4, 6, 0, 0], target=5, tolerance=1) == 20
    assert hitting_time(COSTS, [0, 6, 3.9, 6, 0, 0], target=5, tolerance=1) == INF
    assert hitting_time(COSTS, [0, 5, 4, 5, 0, 0], target=5, tolerance=1) == INF


@pytest.mark.parametrize("target", [0.7, 0.1, 1e-3, 1 / 3])
def test_a_plateau_exactly_at_the_target_is_a_hit(target):
    assert hitting_time(COSTS, [target] * 6, target) == 10


def test_noise_below_the_target_crosses_it_but_does_not_hold_it():
    noise = seeded(0).normal(-2, 1, (500, 100))  # two standard errors below a target of 0
    first = np.mean([hitting_time(costs_of(run), run, 0.0, window=1) < INF for run in noise])
    held = np.mean([hitting_time(costs_of(run), run, 0.0) < INF for run in noise])
    assert first > 0.8
    assert held < 0.01


@few
@given(curve=CURVES, target=st.integers(-20, 20), window=st.integers(1, 5), scale=st.integers(1, 1000))
def test_time_scales_with_cost_and_grows_with_target_and_window(curve, target, window, scale):
    time = hitting_time(costs_of(curve), curve, target, window)
    assert hitting_time(scale * costs_of(curve), curve, target, window) == scale * time
    assert hitting_time(costs_of(curve), curve, target + 1, window) >= time
    assert hitting_time(costs_of(curve), curve, target, window + 1) >= time


def test_regression_counts_later_evaluations_below_the_target():
    assert regressed_after_hit(COSTS, [0, 5, 5, 5, 1, 1], target=5) == pytest.approx(2 / 4)
    assert regressed_after_hit(COSTS, [0, 5, 5, 5, 6, 7], target=5) == 0
    assert regressed_after_hit(COSTS, [0, 0, 0, 0, 0, 5], target=5, window=1) == 0
    assert math.isnan(regressed_after_hit(COSTS, [0] * 6, target=5))


def test_area_is_the_mean_score_over_cost():
    assert area_under_curve([0, 10, 30], [0, 1, 1]) == pytest.approx((5 + 20) / 30)
    assert area_under_curve([100, 110, 130], [0, 1, 1]) == pytest.approx((5 + 20) / 30)


def test_area_of_a_curve_without_width_is_its_mean():
    assert area_under_curve([5], [0.3]) == pytest.approx(0.3)
    assert area_under_curve([0, 0], [0.2, 0.4]) == pytest.approx(0.3)  # gradient steps of a policy that never learns


def test_final_score_is_the_mean_of_the_last_fifth_rounded_up():
    assert final_score(np.arange(10)) == pytest.approx(8.5)
    assert final_score(np.arange(11)) == pytest.approx(9)
    assert final_score([4]) == 4


@pytest.mark.parametrize(
    ("costs", "returns", "message"),
    [
        ([1, 2], [1], "one value per evaluation"),
        ([], [], "one value per evaluation"),
        ([1, 2], [1, math.nan], "NaN"),
        ([1, INF], [1, 2], "infinity"),
        ([2, 1], [1, 2], "fall"),
    ],
)
def test_bad_curves_are_refused_in_one_line(costs, returns, message):
    for measure in (lambda: hitting_time(costs, returns, 0), lambda: area_under_curve(costs, returns)):
        with pytest.raises(UserError, match=message) as caught:
            measure()
        assert "\n" not in str(caught.value)


def test_bad_settings_are_refused():
    with pytest.raises(UserError, match="window 0"):
        hitting_time(COSTS, [0] * 6, 1, window=0)
    with pytest.raises(UserError, match="tolerance -1"):
        hitting_time(COSTS, [0] * 6, 1, tolerance=-1)
    with pytest.raises(UserError, match="target nan"):
        regressed_after_hit(COSTS, [0] * 6, math.nan)
    with pytest.raises(UserError, match="NaN"):
        final_score([1, math.nan])


# Many runs


def test_hand_worked_times():
    assert survival.success_rate(TIMES, BUDGET) == 0.4
    assert survival.ert(TIMES, BUDGET) == 937.5
    assert survival.rmst(TIMES, BUDGET) == 375.0


def test_all_succeed_and_none_succeeds():
    assert survival.ert([100, 200, 600], 1000) == 300
    assert survival.ert([INF, INF], BUDGET) == INF
    assert survival.rmst([INF, INF], BUDGET) == BUDGET
    assert (survival.simulated_restarts([INF, INF], BUDGET, rng=seeded(0), n_samples=4) == INF).all()


def test_a_failed_run_costs_what_it_spent():
    assert survival.ert([100, INF], [500, 300]) == 400
    samples = survival.simulated_restarts([100, INF], [500, 300], rng=seeded(0), n_samples=20_000)
    assert samples.mean() == pytest.approx(400, abs=4 * samples.std() / math.sqrt(20_000))


def test_a_hit_at_the_end_of_the_budget_is_a_hit():
    assert survival.success_rate([BUDGET, INF], BUDGET) == 0.5
    assert survival.kaplan_meier([BUDGET, INF], BUDGET)[1][-1] == 0.5


@few
@given(times=times_lists, scale=st.integers(2, 50), data=st.data())
def test_invariants_of_times(times, scale, data):
    shuffled = data.draw(st.permutations(times))
    for measure in (survival.ert, survival.rmst):
        value = measure(times, BUDGET)
        assert measure(shuffled, BUDGET) == pytest.approx(value)
        assert measure(scale * np.array(times, dtype=float), scale * BUDGET) == pytest.approx(scale * value)
        assert measure([*times, INF], BUDGET) >= value - 1e-9


@few
@given(times=times_lists)
def test_rmst_is_the_area_under_the_kaplan_meier_curve(times):
    costs, surviving = survival.kaplan_meier(times, BUDGET)
    before = np.r_[1.0, surviving[:-1]]
    area = (np.diff(np.r_[0.0, costs]) * before).sum() + (BUDGET - costs[-1]) * surviving[-1]
    assert area == pytest.approx(survival.rmst(times, BUDGET))


def test_kaplan_meier_lets_a_run_leave_early():
    costs, surviving = survival.kaplan_meier([1, INF, 3], [5, 2, 5])
    np.testing.assert_array_equal(costs, [1, 2, 3])
    np.testing.assert_allclose(surviving, [2 / 3, 2 / 3, 0])


def test_simulated_restarts_average_to_the_ert():
    samples = survival.simulated_restarts(TIMES, BUDGET, rng=seeded(0), n_samples=20_000)
    assert samples.mean() == pytest.approx(937.5, abs=4 * samples.std() / math.sqrt(20_000))
    certain = survival.simulated_restarts([3, 1, 2], 5, rng=seeded(0), n_samples=6)
    np.testing.assert_array_equal(certain, [3, 1, 2, 3, 1, 2])


def test_logrank_sees_a_group_that_never_arrives_and_admits_ignorance():
    missed = [INF] * 8
    assert survival.logrank(range(100, 180, 10), missed, BUDGET) < 0.001
    assert survival.logrank(missed, missed, BUDGET) == 1
    assert survival.logrank(TIMES, TIMES, BUDGET) == pytest.approx(1)


def test_rmst_interval_holds_the_estimate_and_stays_below_the_budget():
    interval = survival.rmst_interval(TIMES, BUDGET, rng=seeded(0))
    assert interval.estimate == 375.0
    assert 120 < interval.low < 375 < interval.high < BUDGET
    assert survival.rmst_interval([INF, INF], BUDGET, rng=seeded(0)) == Interval(BUDGET, BUDGET, BUDGET)


def test_rmst_ratio_is_the_geometric_mean_over_tasks():
    slow = {"a": [200.0, 200.0], "b": [800.0, INF, 800.0, INF]}
    fast = {"a": [100.0, 100.0], "b": [100.0, 100.0]}
    budget = {"a": 1000.0, "b": 800.0}
    assert survival.rmst_ratio(slow, fast, budget, rng=seeded(0)) == Interval(*[pytest.approx(4.0)] * 3)
    assert survival.rmst_ratio(fast, slow, budget, rng=seeded(0)).estimate == pytest.approx(1 / 4)


def test_rmst_ratio_is_bounded_by_repeated_runs_only():
    times, budget = {"a": np.array(TIMES)}, {"a": BUDGET}
    ratio = survival.rmst_ratio(times, {"a": [100, 120, 150, 90, 110] * 2}, budget, rng=seeded(0))
    assert 2 < ratio.low < ratio.estimate < ratio.high < 5
    single = survival.rmst_ratio(times, {"a": [10]}, budget, rng=seeded(0))
    assert (single.low, single.high) == (-INF, INF)


def test_rmst_ratio_refuses_unlike_tasks_and_free_hits():
    with pytest.raises(UserError, match="must be the same"):
        survival.rmst_ratio({"a": [1]}, {"b": [1]}, {"a": 2}, rng=seeded(0))
    with pytest.raises(UserError, match="'a' hold 0"):
        survival.rmst_ratio({"a": [1, 2]}, {"a": [0, 1]}, {"a": 2}, rng=seeded(0))


def test_runtime_ecdf_keeps_misses_in_the_denominator():
    times = {"a": [[10, 20], [10, INF]], "b": [[40, INF], [80, INF]]}
    np.testing.assert_allclose(survival.runtime_ecdf(times, [9, 10, 39, 40, 1000]), [0, 2 / 8, 3 / 8, 4 / 8, 5 / 8])


def test_runtime_ecdf_area_is_the_integral_over_log_cost():
    rng = seeded(5)
    times = {task: np.exp(rng.uniform(1, 9, (6, 5))) for task in "abc"}
    costs = np.geomspace(10, 1000, 20_001)
    numeric = np.trapezoid(survival.runtime_ecdf(times, costs), np.log(costs)) / math.log(100)
    interval = survival.ecdf_area(times, 10, 1000, rng=seeded(0))
    assert interval.estimate == pytest.approx(numeric, abs=1e-4)
    assert 0 < interval.low < interval.estimate < interval.high < 1
    assert survival.ecdf_area({"a": [[1.0], [10.0]]}, 10, 1000, rng=seeded(0)) == Interval(1, 1, 1)


@pytest.mark.parametrize(
    "measure",
    [
        lambda: survival.ert([1, math.nan], 5),
        lambda: survival.rmst([1, 2], math.nan),
        lambda: survival.kaplan_meier([-1, 2], 5),
        lambda: survival.rmst_ratio({"a": [math.nan]}, {"a": [1]}, {"a": 5}, rng=seeded(0)),
        lambda: survival.runtime_ecdf({"a": [[math.nan]]}, [1]),
        lambda: survival.runtime_ecdf({"a": [[INF]]}, [INF]),
        lambda: survival.runtime_ecdf({"a": [[1, 2]], "b": [[1]]}, [1]),
        lambda: survival.ecdf_area({"a": [[1]]}, 0, 5, rng=seeded(0)),
    ],
)
def test_bad_times_are_refused_in_one_line(measure):
    with pytest.raises(UserError) as caught:
        measure()
    assert "\n" not in str(caught.value)
