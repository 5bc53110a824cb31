"""Statistics against SciPy, published numbers, cases worked by hand, and how often intervals hold the truth."""

import numpy as np
import pytest
from planted_world import LAWS, coverage
from scipy import stats

from dipddpm.measure.statistics import (
    RESAMPLES,
    budget_to_reach,
    cluster_means,
    detectable,
    estimates,
    inference,
    mean_interval,
    median_reached,
    paired_difference,
    ranks,
    repeats_interval,
    smallest_p,
)


def draws(seed, *shape):
    return np.random.default_rng(seed).gamma(2.0, size=shape)


@pytest.mark.parametrize("n", [2, 6, 29])
def test_below_thirty_interval_and_p_are_student_s(n):
    data = draws(n, n) - 1
    ours, theirs = mean_interval(data), stats.ttest_1samp(data, 0)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval()))
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.mean == pytest.approx(data.mean()) and ours.n == n and ours.spread == pytest.approx(data.std(ddof=1))


def test_from_thirty_on_they_are_those_of_a_symmetric_bootstrap_t():
    """The same distribution, resampled plainly and with other random numbers."""
    data, rng = draws(1, 40) - 1.6, np.random.default_rng(5)
    drawn = data[rng.integers(40, size=(20_000, 40))]
    t = np.abs(drawn.mean(axis=1) - data.mean()) / (drawn.std(axis=1, ddof=1) / 40**0.5)
    error = data.std(ddof=1) / 40**0.5
    ours = mean_interval(data)
    assert ours.high - ours.mean == pytest.approx(np.quantile(t, 0.95) * error, rel=0.03)
    assert ours.mean - ours.low == pytest.approx(ours.high - ours.mean), "symmetric"
    assert ours.p == pytest.approx(np.mean(t >= abs(data.mean()) / error), abs=0.01)
    assert mean_interval(data) == ours, "seeded"


@pytest.mark.parametrize("n", [12, 40])
@pytest.mark.parametrize("together", [False, True])
def test_an_interval_excludes_0_exactly_where_its_p_is_below_the_level(n, together):
    rows = np.random.default_rng(n).normal(0.35, 1, (400, n))
    if together:
        rows[:200] += 1.0  # so that some of them are beyond what a family of 400 allows
    for level in (0.05, 0.025):
        centre, half, p = inference(rows, level, together, 1_999)
        assert ((np.abs(centre) > half) == (p < level)).all() and 0.02 < np.mean(p < level) < 0.98


def test_clusters_are_what_is_resampled():
    values = np.array([1.0, 3.0, 10.0, 5.0, 6.0])
    assert cluster_means(values, ["b", "b", "a", "c", "c"]).tolist() == [2.0, 10.0, 5.5]  # in order of appearance
    assert cluster_means([values, values + 2], ["b", "b", "a", "c", "c"]).tolist() == [3.0, 11.0, 6.5]
    found = mean_interval(values, ["b", "b", "a", "c", "c"])
    assert found.n == 3 and found.mean == pytest.approx(17.5 / 3), "each cluster counts once, whatever its size"
    with pytest.raises(ValueError, match="2 clusters of 5 items"):
        cluster_means(values, ["a", "b"])


def test_repeats_are_averaged_first():
    items = np.random.default_rng(0).normal(size=16)
    chance = np.random.default_rng(1).normal(size=(2, 16))
    assert mean_interval(np.stack([items] * 3)) == mean_interval(items)
    assert mean_interval(items + chance) == mean_interval(items + chance.mean(axis=0))


def test_degenerate_samples():
    single = mean_interval([2.0])
    assert single.mean == 2 and np.isnan([single.low, single.high, single.p]).all(), "one value has no spread"
    for n in (3, 40):
        equal = mean_interval([1.1] * n)
        assert equal.low == equal.high == equal.mean and equal.p == smallest_p(n)
        assert mean_interval([0.0] * n).p == 1
        some = mean_interval([0.0] * (n - 1) + [1.0])
        assert not np.isnan([some.low, some.high, some.p]).any() and some.low <= some.mean <= some.high
        broken = mean_interval([np.nan] + [1.0] * (n - 1))
        assert np.isnan([broken.mean, broken.low, broken.p]).all(), "a NaN is not hidden"


def test_pairing_removes_what_the_items_share():
    items, noise = np.random.default_rng(0).normal(scale=10, size=32), np.random.default_rng(1).normal(size=32)
    d = paired_difference(items + 1 + 0.1 * noise, items)
    assert 0.9 < d.low < 1 < d.high < 1.1
    with pytest.raises(ValueError, match="not paired"):
        paired_difference([1.0, 2.0], [1.0])


# How often a 95 % interval holds the truth, where nothing was tuned to it. 4,000 experiments: +- 0.7 %.

EXACT = (0.94, 0.96)


@pytest.mark.parametrize(
    ("law", "n", "expected"),
    [
        ("normal", 6, EXACT),
        ("normal", 12, EXACT),
        ("normal", 64, EXACT),
        ("t3", 12, (0.94, 0.97)),  # heavy tails make Student's t cautious
        ("t3", 64, (0.94, 0.97)),
        ("gamma", 64, (0.93, 0.96)),
        # Skewed laws stay below at small n, whatever the method: a sample without its tail does not know of it.
        ("gamma", 12, (0.90, 0.95)),
        ("lognormal", 12, (0.80, 0.90)),
        ("lognormal", 64, (0.90, 0.95)),
        ("normal, 2 x 6", 2, EXACT),
        ("normal, 6 x 2", 6, EXACT),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(law, n, expected):
    assert expected[0] <= coverage(law, n, "ours", 4_000) <= expected[1]


def test_a_method_that_covers_86_percent_would_be_noticed():
    """What was used before falls out of the ranges above: BCa at n = 12, and crops that count as photographs."""
    assert coverage("normal", 12, "bca", 1_000) < EXACT[0] - 0.01
    assert coverage("t3", 12, "bca", 1_000) < 0.92
    assert coverage("normal, 2 x 6", 2, "crops", 1_000) < 0.75
    assert set(LAWS) >= {"normal", "t3", "gamma", "lognormal"}


@pytest.mark.parametrize("n", [8, 40])
def test_simultaneous_intervals_hold_all_at_once(n):
    held = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(1, n)) + 0.7 * rng.normal(size=(12, n))  # rows share their images
        held.append(all(e.low <= 0 <= e.high for e in estimates(rows, together=True)))
    assert 0.91 <= np.mean(held) <= 0.995
    alone = [np.random.default_rng(seed).normal(size=(12, n)) for seed in range(200)]
    assert 0.93 <= np.mean([e.low <= 0 <= e.high for rows in alone for e in estimates(rows)]) <= 0.97


def test_simultaneous_ones_by_hand():
    rows = np.random.default_rng(0).normal(size=(5, 8))
    rows[3] = np.nan
    found = estimates(rows, together=True)
    half = stats.t.ppf(1 - 0.05 / 4 / 2, 7) * rows[0].std(ddof=1) / 8**0.5
    assert found[0].high - found[0].mean == pytest.approx(half), "Bonferroni over the four rows that can be judged"
    assert np.isnan([found[3].mean, found[3].low]).all()
    assert found[0].p == pytest.approx(min(1, 4 * stats.ttest_1samp(rows[0], 0).pvalue))
    half = estimates(rows[:1], share=0.5)[0]
    assert half.high - half.mean == pytest.approx(stats.t.ppf(1 - 0.025 / 2, 7) * half.spread / 8**0.5)


def test_rows_that_are_often_without_spread_do_not_widen_the_others():
    rows = np.random.default_rng(0).normal(size=(4, 40))
    rows[3] = 0
    rows[3, 0] = 1.0
    found = estimates(rows, together=True)
    assert found[0].high - found[0].low < 1.5 * (mean_interval(rows[0]).high - mean_interval(rows[0]).low)


@pytest.mark.parametrize("n", [6, 20, 64])
def test_the_detectable_effect_is_found_in_80_percent(n):
    rng = np.random.default_rng(n)
    rows = rng.normal(detectable(1.0, n), 1.0, (4_000, n))
    centre, _, p = inference(rows, resamples=999)
    assert np.mean((p < 0.05) & (centre > 0)) == pytest.approx(0.8, abs=0.025)


def test_the_detectable_effect_by_hand():
    assert detectable(1.0, 64) == pytest.approx(0.3557, abs=1e-3)  # G*Power: one-sample t, d = 0.356, n = 64
    assert detectable(2.0, 64) == pytest.approx(2 * detectable(1.0, 64)) and np.isnan(detectable(1.0, 1))


def test_the_smallest_p_of_n():
    assert smallest_p(1) == 1 and smallest_p(6) == 0
    assert smallest_p(64) == 1 / (RESAMPLES + 1) == mean_interval(np.linspace(9, 10, 64)).p


def test_ranks_within_noise_are_shared():
    noise = np.random.default_rng(0).normal(0, 0.1, (4, 12))
    images = np.random.default_rng(1).normal(0, 3, 12)
    levels = np.array([[10.0], [13.0], [13.01], [5.0]])
    assert ranks(images + levels + noise) == [3, 1, 1, 4]
    assert ranks(-(images + levels + noise), higher_is_better=False) == [3, 1, 1, 4]
    assert ranks(images + levels + 100 * noise) == [1, 1, 1, 1]
    broken = images + levels + noise
    broken[1, 0] = np.nan
    assert ranks(broken) == [2, 4, 1, 3], "what diverged comes last"
    assert ranks(levels) == [1, 1, 1, 1] and ranks(np.ones((1, 5))) == [1]


def test_no_rank_is_before_that_of_a_better_mean():
    steady = np.random.default_rng(0).normal(0, 0.01, (2, 12)) + np.array([[10.0], [9.0]])
    wild = 30 * np.random.default_rng(1).normal(size=(1, 12))
    wild += 8 - wild.mean()
    assert ranks(np.vstack([steady, wild])) == [1, 2, 2]


def test_not_reached_is_kept_as_such():
    values = {1: [10, 10, 10, 30], 5: [20, 15, 10, 30], 20: [25, 21, 10, 30]}
    r = budget_to_reach(values, 20)
    assert r.budgets == (5, 20, None, 1)
    assert r.fraction == 0.75
    assert r.median == 12.5  # of 1, 5, 20, never
    assert r.restricted_mean == (5 + 20 + 20 + 1) / 4  # the unreached at the largest budget, not beyond, not dropped
    assert budget_to_reach(values, 26).median is None
    assert budget_to_reach(values, 99).fraction == 0 and budget_to_reach(values, 99).restricted_mean == 20
    assert budget_to_reach({1: [3.0, 1.0], 2: [1.0, 1.0]}, 2, higher_is_better=False).budgets == (2, 1)


def test_all_are_censored_at_one_budget():
    alone = budget_to_reach({0: [30, 10, 10, 10]}, 20, last=20)
    assert alone.restricted_mean == 15 and alone.budgets == (0, None, None, None)
    beyond = budget_to_reach({1: [10, 10], 50: [30, 10]}, 20, last=20)
    assert beyond.restricted_mean == 20 and beyond.budgets == (50, None)


def test_a_median_needs_half():
    assert median_reached([3.0, 1.0, np.inf]) == 3 and median_reached([1.0, np.inf]) == 1
    assert median_reached([1.0, np.inf, np.inf]) is None and median_reached([np.inf]) is None
    assert median_reached([0.2, 0.4]) == pytest.approx(0.3)


def test_an_interval_over_repeats_is_student_s():
    low, high = repeats_interval([1.0, 2.0, 3.0])
    assert (low + high) / 2 == pytest.approx(2) and high - 2 == pytest.approx(4.303 / 3**0.5, rel=1e-3)  # t(2), s = 1
    assert np.isnan(repeats_interval([1.0])).all()


def test_quality_may_fall_again_with_the_budget():
    assert budget_to_reach({1: [25], 5: [18], 20: [17]}, 20).budgets == (1,)
