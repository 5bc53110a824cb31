"""Statistics against SciPy, published numbers and cases worked by hand."""

import numpy as np
import pytest
from scipy import stats

from dipddpm.measure.statistics import (
    budget_to_reach,
    holm,
    mean_interval,
    median_reached,
    paired_difference,
    repeats_interval,
    wilcoxon_p,
)


def draws(seed, *shape):
    return np.random.default_rng(seed).gamma(2.0, size=shape)  # skewed: a percentile interval would differ


@pytest.mark.parametrize("n", [8, 16, 64])
def test_interval_equals_scipy_bca(n):
    data = draws(n, n)
    ours = mean_interval(data)
    theirs = stats.bootstrap((data,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1))
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.05 * width)
    assert ours.mean == pytest.approx(data.mean()) and ours.n == n


def test_interval_covers_the_truth_about_as_often_as_it_says():
    covered = [
        e.low <= 0 <= e.high for e in (mean_interval(np.random.default_rng(s).normal(size=20)) for s in range(200))
    ]
    assert 0.89 <= np.mean(covered) <= 0.99


def test_repeats_are_an_inner_level():
    items = np.random.default_rng(0).normal(size=16)
    same = np.stack([items] * 3)
    assert mean_interval(same).low == pytest.approx(mean_interval(items).low, abs=0.08)
    noisy = same + np.random.default_rng(1).normal(scale=3, size=same.shape)
    wide, narrow = mean_interval(noisy), mean_interval(same)
    assert wide.high - wide.low > narrow.high - narrow.low
    assert wide.n == 16  # items are what one generalises over


def test_degenerate_samples():
    assert mean_interval([2.0]).low == mean_interval([2.0]).high == 2.0
    assert mean_interval([1.0, 1.0, 1.0]).high == 1.0
    assert np.isfinite([mean_interval([0.0, 0.0, 1.0]).low, mean_interval([0.0, 1.0]).high]).all()


def test_pairing_removes_what_the_items_share():
    items, noise = np.random.default_rng(0).normal(scale=10, size=32), np.random.default_rng(1).normal(size=32)
    d = paired_difference(items + 1 + 0.1 * noise, items)
    assert 0.9 < d.low < 1 < d.high < 1.1
    with pytest.raises(ValueError, match="not paired"):
        paired_difference([1.0, 2.0], [1.0])


def test_wilcoxon():
    a = np.arange(1.0, 9.0)
    assert wilcoxon_p(a, np.zeros(8)) == pytest.approx(2 / 2**8)  # all eight pairs agree: exact
    assert wilcoxon_p(a, a) == 1.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Holm 1979
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == [0.02]


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


def test_repeats_that_differ_alone_widen_the_interval_by_no_more_than_it_says():
    """Items equal, repeats not: the true standard deviation of the mean is 1 / sqrt(5 x 32)."""
    made = [mean_interval(np.random.default_rng(seed).normal(size=(5, 32))) for seed in range(20)]
    ratio = np.mean([e.high - e.low for e in made]) / (2 * 1.96 / (5 * 32) ** 0.5)
    assert 1.2 < ratio < 1.42


def test_quality_may_fall_again_with_the_budget():
    assert budget_to_reach({1: [25], 5: [18], 20: [17]}, 20).budgets == (1,)
