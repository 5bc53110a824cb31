"""Statistics of paired and censored measurements. No value is ever dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 4_000


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval over n items."""

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values: ArrayLike) -> Estimate:
    """Mean and 95 % interval of (items,) or (repeats, items) values. Seeded: equal values give equal intervals.

    Bias-corrected and accelerated bootstrap (BCa, Efron 1987). Items are resampled, and for each item drawn its
    repeats, because the claim is about further items. Without repeats this equals
    ``scipy.stats.bootstrap(..., method="BCa")``, which has no second level. Where repeats differ more than items do,
    the interval counts the chance of a repeat twice and is up to 1.4 times as wide as it should be.
    """
    from scipy import stats  # imported where it is used: a run whose report is found has no use for it

    data = np.atleast_2d(np.asarray(values, dtype=float))
    repeats, n = data.shape
    mean = float(data.mean())
    if n < 2 or np.ptp(data) == 0 or not np.isfinite(mean):  # a mean of NaN is returned as NaN and not hidden
        return Estimate(mean, mean, mean, n)
    rng = np.random.default_rng(0)
    drawn = rng.integers(n, size=(RESAMPLES, n))
    if repeats == 1:
        means = data[0, drawn].mean(axis=1)
    else:
        means = np.mean([data[rng.integers(repeats, size=drawn.shape), drawn] for _ in range(repeats)], axis=(0, 2))
    below = np.mean(means < mean) + np.mean(means == mean) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    pull = mean - data.mean(axis=0)  # jackknife: how the mean changes when an item is left out, up to a factor
    spread = (pull**2).sum() ** 1.5
    acceleration = (pull**3).sum() / (-6 * spread) if spread else 0.0
    z = bias + stats.norm.ppf([0.025, 0.975])
    low, high = np.quantile(means, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return Estimate(mean, float(low), float(high), n)


def repeats_interval(values: ArrayLike) -> tuple[float, float]:
    """95 % interval of the mean of (repeats,) values (Student's t); NaN for a single value, which has no spread."""
    from scipy import stats  # imported where it is used: a run whose report is found has no use for it

    data = np.asarray(values, dtype=float)
    n = len(data)
    if n < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf(0.975, n - 1) * data.std(ddof=1) / n**0.5
    return float(data.mean() - half), float(data.mean() + half)


def paired_difference(a: ArrayLike, b: ArrayLike) -> Estimate:
    """Mean of a - b over the same items (and repeats) in the same order.

    Raises:
        ValueError: the two differ in shape.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(f"not paired: values of shape {np.shape(a)} against {np.shape(b)}")
    return mean_interval(np.asarray(a, dtype=float) - np.asarray(b, dtype=float))


def wilcoxon_p(a: ArrayLike, b: ArrayLike) -> float:
    """Two-sided p-value of the Wilcoxon signed-rank test over items; repeats are averaged. 1 if all pairs are equal."""
    from scipy import stats  # imported where it is used: a run whose report is found has no use for it

    difference = np.atleast_2d(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean(axis=0)
    return 1.0 if not difference.any() else float(stats.wilcoxon(difference).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of one family of tests, adjusted for its size (Holm 1979); in the given order."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, stepped)
    return adjusted.tolist()


@dataclass(frozen=True)
class Reached:
    """Budget to a threshold over items, right-censored.

    Attributes:
        budgets: per item, the smallest budget that reached it; None where no budget did ("not reached").
        fraction: share of items that reached it.
        median: None unless at least half of the items reached it.
        restricted_mean: mean of min(budget, last), where ``last`` is the budget of censoring. It is a lower bound of
            the mean, and needs no guess about the items that did not reach the threshold.
    """

    budgets: tuple[int | None, ...]
    fraction: float
    median: float | None
    restricted_mean: float


def budget_to_reach(
    values: Mapping[int, Sequence[float]], threshold: float, higher_is_better: bool = True, last: int | None = None
) -> Reached:
    """The smallest budget at which each item reaches ``threshold``. Each budget is an independent run.

    Args:
        values: {budget: one value per item}.
        last: the budget of censoring, which must be the same for all that are compared. Default: the largest budget.
    """
    grid = sorted(values)
    table = np.asarray([values[budget] for budget in grid], dtype=float)
    hit = table >= threshold if higher_is_better else table <= threshold
    reached = np.asarray(hit.any(axis=0))
    first = np.where(reached, np.asarray(grid)[hit.argmax(axis=0)], np.inf)
    restricted = np.minimum(first, grid[-1] if last is None else last)
    budgets = tuple(int(b) if np.isfinite(b) else None for b in first.tolist())
    return Reached(budgets, float(reached.mean()), median_reached(first), float(restricted.mean()))


def median_reached(first: ArrayLike) -> float | None:
    """The median of the budgets or seconds that it took; None unless at least half of the items reached the threshold.

    Args:
        first: one value per item, infinity where the item did not reach it.

    Where exactly half of an even number did, the upper of the two middle values is unknown; the lower one is returned.
    """
    ordered = np.sort(np.asarray(first, dtype=float))
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    if np.isinf(low):
        return None
    return float((low + high) / 2) if np.isfinite(high) else float(low)
