"""Statistics at their edges: values that are missing, the smallest samples, and which side of a level counts."""

import warnings

import numpy as np
import pytest
from scipy import special, stats

from dipddpm.measure.statistics import (
    BOOTSTRAP_FROM,
    RESAMPLES,
    budget_to_reach,
    cluster_means,
    detectable,
    estimates,
    inference,
    mean_interval,
    paired_difference,
    ranks,
    repeats_interval,
    smallest_p,
)


@pytest.fixture(autouse=True)
def no_warning_is_hidden():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_missing_value_is_nan_wherever_it_stands():
    assert np.isnan(cluster_means([1.0, None])).tolist() == [False, True]
    assert np.isnan(estimates([[1.0, None, 2.0]])[0].mean)
    assert ranks([[3.0, 3.1, 3.0], [None, 9.0, 9.0]]) == [1, 2]
    assert np.isnan(repeats_interval([1.0, None])).all()
    assert budget_to_reach({1: [None, 3.0]}, 2).budgets == (None, 1)


def test_differences_of_small_integers_do_not_wrap():
    more, less = np.array([1, 2, 3], np.uint8), np.array([2, 4, 3], np.uint8)
    assert paired_difference(more, less).mean == pytest.approx(-1)
    assert paired_difference(less, more).mean == pytest.approx(1)
    assert paired_difference([1.0, None, 2.0], [1.0, 2.0, None]).n == 3
    assert paired_difference([1.0, 2.0, 4.0], [0.0, 0.0, 0.0], ["a", "a", "b"]).n == 2, "clusters are resampled"


def test_shapes_that_are_not_paired_are_named():
    with pytest.raises(ValueError, match=r"not paired: values of shape \(2,\) against \(3,\)"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])


def test_the_number_of_resamples_is_the_one_asked_for():
    rows = np.random.default_rng(0).normal(0.2, 1, (3, 40))
    for resamples in (999, 499):
        p = np.array([e.p for e in estimates(rows, resamples=resamples)]) * (resamples + 1)
        assert np.allclose(p, p.round())
    assert mean_interval(rows[0]).p * (RESAMPLES + 1) == pytest.approx(
        round(mean_interval(rows[0]).p * (RESAMPLES + 1))
    )


def test_a_single_cluster_has_no_spread_and_says_so_without_a_warning():
    (only,) = estimates([[2.0]])
    assert only.mean == 2 and np.isnan([only.low, only.high, only.p, only.spread]).all()
    (two,) = estimates([[1.0, 3.0]])
    assert two.spread == pytest.approx(2**0.5)


def test_a_share_of_the_level_makes_p_larger_and_never_larger_than_one():
    rows = np.array([[1.0, 2.0, 3.5, 2.0], [1.0, -1.0, 2.0, -1.5]])
    whole, half = estimates(rows), estimates(rows, share=0.5)
    assert half[0].p == pytest.approx(2 * whole[0].p) and whole[1].p > 0.5 and half[1].p == 1.0
    assert inference(rows, together=True)[2].max() == 1.0, "Bonferroni's are no larger than one either"


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("resamples", [19, 39, 41, 59, 61])
def test_few_resamples_agree_too(resamples, together):
    """p is one of few values here; with 19 of them none is below 0.05, and no interval may exclude 0."""
    rows = np.random.default_rng(1).normal(0.4, 1, (100, 40))
    centre, half, p = inference(rows, 0.05, together, resamples)
    assert ((np.abs(centre) > half) == (p < 0.05)).all()
    assert np.isinf(half).all() == (resamples == 19)


def test_the_scale_of_a_row_does_not_matter():
    row = np.random.default_rng(2).normal(0.3, 1, 40)
    one, small, large = estimates([row, 1e-9 * row, 1e9 * row])
    assert one.p == small.p == large.p and small.high == pytest.approx(1e-9 * one.high)


def test_a_row_without_spread_among_others():
    row = np.random.default_rng(2).normal(0.3, 1, 40)
    steady, other = estimates([np.full(40, 2.0), row])
    assert steady.low == steady.high == 2.0 and steady.p == 1 / 2000
    assert other.low == pytest.approx(estimates([row])[0].low) and other.p == estimates([row])[0].p


@pytest.mark.parametrize("n", [2, 3, 6, 30])
def test_the_detectable_effect_has_the_power_that_it_says(n):
    effect = detectable(1.0, n)
    beyond = stats.nct.sf(stats.t.isf(0.025, n - 1), n - 1, effect * n**0.5)
    assert beyond == pytest.approx(0.8, abs=1e-6)


def test_the_smallest_p_at_each_limit():
    assert [smallest_p(n) for n in (1, 2, BOOTSTRAP_FROM - 1, BOOTSTRAP_FROM)] == [1.0, 0.0, 0.0, 1 / (RESAMPLES + 1)]


def behind_by(t, rows=2, n=12):
    """The ranks of rows of which all but the first are equally good, and the first is better by ``t`` errors."""
    chance = np.random.default_rng(0).normal(size=n)
    chance = (chance - chance.mean()) / chance.std(ddof=1) * 0.1  # so that the differences are far below 1
    base = np.random.default_rng(1).normal(20, 3, n)
    return np.stack([base + chance + t * 0.1 / n**0.5, *[base] * (rows - 1)])


@pytest.mark.parametrize("rows", [2, 3])
def test_ranks_part_where_all_pairs_together_say_so(rows):
    critical = -special.stdtrit(11, 0.05 / (rows * (rows - 1)))
    shared, parted = [1] * rows, [1, *[2] * (rows - 1)]
    for above, expected in ((-0.01, shared), (0.01, parted)):
        table = behind_by(critical + above, rows)
        assert ranks(table) == expected and ranks(-table, higher_is_better=False) == expected


def test_two_clusters_and_two_rows_have_ranks():
    assert ranks([[1.0, 2.0], [3.0, 4.000001]]) == [2, 1]


def test_an_interval_of_two_repeats():
    low, high = repeats_interval([1.0, 5.0])
    assert (low, high) == pytest.approx((3 - 2 * 12.7062, 3 + 2 * 12.7062), rel=1e-4)


def test_a_value_at_the_threshold_has_reached_it():
    assert budget_to_reach({1: [2.0]}, 2.0).budgets == budget_to_reach({1: [2.0]}, 2.0, False).budgets == (1,)
