"""Statistics of paired, censored measurements. Raw values in, intervals out; nothing is ever dropped."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 4_000


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval over n items."""

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values: Sequence[float]) -> Estimate:
    """Mean and BCa bootstrap interval over items (Efron 1987); the same numbers at every call."""
    data = np.asarray(values, dtype=float)
    mean, n = float(data.mean()), len(data)
    if n < 2 or np.ptp(data) == 0:
        return Estimate(mean, mean, mean, n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (data,), np.mean, n_resamples=RESAMPLES, method="BCa", rng=np.random.default_rng(0)
        ).confidence_interval
    if not np.isfinite([interval.low, interval.high]).all():  # BCa's acceleration is undefined for some tiny samples
        return Estimate(mean, float(data.min()), float(data.max()), n)
    return Estimate(mean, float(interval.low), float(interval.high), n)


def paired_difference(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """Mean of a - b over the same items in the same order.

    Raises:
        ValueError: the two differ in length.
    """
    if len(a) != len(b):
        raise ValueError(f"not paired: {len(a)} values against {len(b)}")
    return mean_interval(np.asarray(a, dtype=float) - np.asarray(b, dtype=float))


def wilcoxon_p(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p of the Wilcoxon signed-rank test; 1 where all pairs are equal."""
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    return 1.0 if not difference.any() else float(stats.wilcoxon(difference).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that hold for the whole family (Holm 1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, stepped)
    return adjusted.tolist()


@dataclass(frozen=True)
class Reached:
    """Budget to a threshold over items, right-censored at the largest budget.

    Attributes:
        budgets: smallest budget that reached it, one an item; None where none did ("not reached").
        fraction: share of items that reached it.
        median: None unless at least half reached it.
        restricted_mean: mean of min(budget, largest budget): a lower bound that needs no guess about the unreached.
    """

    budgets: tuple[int | None, ...]
    fraction: float
    median: float | None
    restricted_mean: float


def budget_to_reach(values: Mapping[int, Sequence[float]], threshold: float, higher_is_better: bool = True) -> Reached:
    """Smallest budget at which each item reaches ``threshold``; each budget was an independent run.

    Args:
        values: {budget: one value an item}.
    """
    grid = sorted(values)
    table = np.asarray([values[budget] for budget in grid], dtype=float)
    hit = table >= threshold if higher_is_better else table <= threshold
    reached = np.asarray(hit.any(axis=0))
    first = np.asarray(grid)[hit.argmax(axis=0)]
    censored = np.where(reached, first, grid[-1])
    median = None
    if reached.mean() >= 0.5:
        # With the unreached at infinity the median is exact, also when an even count straddles the edge.
        ordered = np.sort(np.where(reached, first, np.inf))
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        median = float(middle) if np.isfinite(middle) else float(ordered[(len(ordered) - 1) // 2])
    budgets = tuple(int(b) if ok else None for b, ok in zip(first.tolist(), reached.tolist(), strict=True))
    return Reached(budgets, float(reached.mean()), median, float(censored.mean()))
