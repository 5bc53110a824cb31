"""Statistics of paired, clustered and censored measurements. No value is ever dropped.

What is resampled is the cluster: values of one cluster are not independent. A mean is the
mean over clusters of their means. Below :data:`BOOTSTRAP_FROM` clusters its interval and its p-value are those of
Student's t on the cluster means; from there on, those of a symmetric bootstrap-t (Hall 1988, *On symmetric bootstrap
confidence intervals*): the distribution of |mean - truth| / error, which t takes to be that of normal data, is that of
the resampled clusters. Interval and p-value come from one distribution, so that the 95 % interval excludes 0 exactly
where p < 0.05.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

BOOTSTRAP_FROM = 30
# One less than a round number: p = (1 + exceeding) / (RESAMPLES + 1) is exact (Davison and Hinkley 1997, 4.2).
RESAMPLES = 9_999
RESAMPLES_SHOWN = 1_999  # for intervals that describe and decide nothing, of which a report has a thousand
LEVEL = 0.05
AT_ONCE = 1_000_000  # numbers that a chunk of a bootstrap holds


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval and p-value.

    Attributes:
        mean: over clusters.
        low, high: 95 % interval; NaN for a single cluster, which has no spread.
        n: number of clusters.
        p: two-sided p-value of the mean being 0; NaN for a single cluster.
        spread: standard deviation of the cluster means.
    """

    mean: float
    low: float
    high: float
    n: int
    p: float = float("nan")
    spread: float = float("nan")


def cluster_means(values: ArrayLike, clusters: Sequence[str] = ()) -> np.ndarray:
    """(C,) means of (items,) or (repeats, items) values: over repeats first, then over the items of each cluster.

    Args:
        clusters: the cluster of each item; empty where each item is its own. Means are in order of first appearance.

    Raises:
        ValueError: not one cluster per item.
    """
    means = np.atleast_2d(np.asarray(values, dtype=float)).mean(axis=0)
    if not len(clusters):
        return means
    if len(clusters) != len(means):
        raise ValueError(f"{len(clusters)} clusters of {len(means)} items: name one per item")
    place = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    index = [place[name] for name in clusters]
    return np.bincount(index, means) / np.bincount(index)


def mean_interval(values: ArrayLike, clusters: Sequence[str] = ()) -> Estimate:
    """Mean, 95 % interval and p-value of (items,) or (repeats, items) values. Equal values give equal intervals.

    The claim is about further clusters. The chance of a repeat is in the values and needs no level of its own.

    Args:
        clusters: as in :func:`cluster_means`.
    """
    return estimates(cluster_means(values, clusters)[None], resamples=RESAMPLES)[0]


def paired_difference(a: ArrayLike, b: ArrayLike, clusters: Sequence[str] = ()) -> Estimate:
    """Mean of a - b over the same items (and repeats) in the same order.

    Raises:
        ValueError: the two differ in shape.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(f"not paired: values of shape {np.shape(a)} against {np.shape(b)}")
    return mean_interval(np.asarray(a, dtype=float) - np.asarray(b, dtype=float), clusters)


def estimates(
    means: ArrayLike, together: bool = False, share: float = 1.0, resamples: int = RESAMPLES_SHOWN
) -> list[Estimate]:
    """The estimate of each row of (M, C) cluster means. Many rows at once take far less time than one by one.

    Args:
        together: make the M intervals simultaneous: in 95 % of experiments all of them hold the truth. P-values are
            adjusted alike.
        share: the part of the 5 % that these rows may spend, where they are a part of a larger family.
    """
    rows = np.asarray(means, dtype=float)
    centre, half, p = inference(rows, LEVEL * share, together, resamples)
    spread = rows.std(axis=1, ddof=1) if rows.shape[1] > 1 else np.full(len(rows), np.nan)
    columns = zip(centre.tolist(), half.tolist(), np.minimum(1.0, p / share).tolist(), spread.tolist(), strict=True)
    return [Estimate(m, m - h, m + h, rows.shape[1], p, s) for m, h, p, s in columns]


def inference(
    means: np.ndarray, level: float = LEVEL, together: bool = False, resamples: int = RESAMPLES
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, half the width of its ``1 - level`` interval, and two-sided p-value, along the last axis of (..., C) means.

    A row that holds a NaN has a NaN in each, and takes no part in a simultaneous level. A row without any spread has an
    interval of width 0, and the smallest p-value unless its mean is 0. For a single cluster half and p are NaN.

    Args:
        together: of all rows at once: by Bonferroni's inequality below :data:`BOOTSTRAP_FROM` clusters, from there on
            by the bootstrap distribution of the largest |t| (Westfall and Young 1993).
    """
    *lead, n = means.shape
    rows = means.reshape(-1, n)
    centre = rows.mean(axis=1)
    half, p = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    ok = np.isfinite(rows).all(axis=1)
    if n > 1 and ok.any():
        error = rows[ok].std(axis=1, ddof=1) / n**0.5
        # What rounding leaves of the spread of equal values must not become a p-value.
        error[error <= 1e-12 * np.abs(rows[ok]).max(axis=1)] = 0
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(centre[ok] == 0, 0.0, np.abs(centre[ok]) / error)
        if n < BOOTSTRAP_FROM:
            critical, p[ok] = _student(t, n, level, int(ok.sum()) if together else 1)
        else:
            critical, p[ok] = _bootstrapped(rows[ok], t, level, together, resamples)
        half[ok] = np.multiply(critical, error, where=error > 0, out=np.zeros(len(error)))
    return centre.reshape(lead), half.reshape(lead), p.reshape(lead)


def _student(t: np.ndarray, n: int, level: float, tests: int) -> tuple[np.ndarray, np.ndarray]:
    """Critical value and p-values of Student's t; Bonferroni's for several tests."""
    from scipy import special  # imported where it is used: a run whose report is found has no use for it

    return -special.stdtrit(n - 1, level / tests / 2), np.minimum(1.0, tests * 2 * special.stdtr(n - 1, -t))


def _bootstrapped(
    rows: np.ndarray, t: np.ndarray, level: float, together: bool, resamples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Critical values and p-values by the bootstrap distribution of |t|, of each row or of the largest of all rows."""
    # p = (1 + number of resampled |t| that are no smaller than t) / (resamples + 1) is below the level exactly where t
    # is above the critical value, which is the ``rank``-th largest of them.
    rank = math.ceil(level * (resamples + 1) - 1e-9) - 1
    step = max(1, AT_ONCE // resamples)
    chunks = [slice(i, i + step) for i in range(0, len(rows), step)]
    critical, exceeding = np.full(len(rows), np.inf), np.zeros(len(rows), dtype=int)
    if together:
        # What a row says where a sample left it without spread (infinity) must not widen the intervals of the others.
        parts = (_resampled_t(rows[chunk], resamples) for chunk in chunks)
        largest = np.sort(np.max([np.where(np.isinf(part), 0, part).max(axis=0) for part in parts], axis=0))
        exceeding[:] = resamples - np.searchsorted(largest, t)
        if rank > 0:
            critical[:] = largest[-rank]
    else:
        for chunk in chunks:
            drawn = _resampled_t(rows[chunk], resamples)
            exceeding[chunk] = (drawn >= t[chunk, None]).sum(axis=1)
            if rank > 0:
                drawn.partition(resamples - rank, axis=1)
                critical[chunk] = drawn[:, resamples - rank]
    return critical, (1 + exceeding) / (resamples + 1)


def _resampled_t(rows: np.ndarray, resamples: int) -> np.ndarray:
    """(M, resamples) |t| of bootstrap samples of (M, C) rows against the row's mean; rows draw the same clusters."""
    n = rows.shape[1]
    spread = rows.std(axis=1, keepdims=True)
    centred = np.divide(rows - rows.mean(axis=1, keepdims=True), spread, where=spread > 0, out=np.zeros_like(rows))
    drawn = _draws(n, resamples)
    mean = centred @ drawn
    error = (np.maximum((centred**2) @ drawn - mean**2, 0) / (n - 1)) ** 0.5
    # A sample that drew one value alone has no spread: it says nothing against any mean.
    return np.divide(np.abs(mean), error, where=error > 1e-6, out=np.where(np.abs(mean) > 1e-6, np.inf, 0.0))


@lru_cache(maxsize=8)
def _draws(n: int, resamples: int) -> np.ndarray:
    """(n, resamples) shares that n clusters have in each bootstrap sample."""
    counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=resamples)
    return np.ascontiguousarray(counts.T / n)


def detectable(spread: float, n: int, power: float = 0.8) -> float:
    """The mean that n clusters of standard deviation ``spread`` show at p < 0.05 in a share ``power`` of experiments.

    By the noncentral t distribution (Cohen 1988). NaN for a single cluster.
    """
    from scipy import special

    if n < 2:
        return float("nan")
    critical = -special.stdtrit(n - 1, LEVEL / 2)
    return float(special.nctdtrinc(n - 1, 1 - power, critical)) * spread / n**0.5


def smallest_p(n: int) -> float:
    """The smallest p-value that n clusters can give: 1 for a single one, which has no spread."""
    return 1.0 if n < 2 else 0.0 if n < BOOTSTRAP_FROM else 1 / (RESAMPLES + 1)


def ranks(means: ArrayLike, higher_is_better: bool = True) -> list[int]:
    """The rank of each row of (M, C) cluster means: one more than how many other rows are better beyond noise.

    Beyond noise is a paired difference with p < 0.05 by Student's t, for all pairs of rows together (Bonferroni). No
    row ranks before one with a better mean: rows that noise may have put in order share a rank. A NaN comes last.
    """
    from scipy import special

    rows = np.asarray(means, dtype=float)
    count, n = rows.shape
    centre = rows.mean(axis=1) * (1 if higher_is_better else -1)
    ok = np.flatnonzero(np.isfinite(centre))
    made = np.full(count, len(ok) + 1)
    if n < 2 or len(ok) < 2:
        made[ok] = 1
        return made.tolist()
    ok = ok[np.argsort(-centre[ok], kind="stable")]
    covariance = np.cov(rows[ok]) / n
    variance = np.diag(covariance)
    error = np.maximum(variance[:, None] + variance - 2 * covariance, 0) ** 0.5
    critical = -special.stdtrit(n - 1, LEVEL / (len(ok) * (len(ok) - 1)))
    behind = centre[ok][None, :] - centre[ok][:, None] > np.maximum(critical * error, 1e-9)
    made[ok] = np.maximum.accumulate(1 + behind.sum(axis=1))
    return made.tolist()


def repeats_interval(values: ArrayLike) -> tuple[float, float]:
    """95 % interval of the mean of (repeats,) values (Student's t); NaN for a single value, which has no spread."""
    from scipy import special  # and not scipy.stats, which takes a second to import

    data = np.asarray(values, dtype=float)
    n = len(data)
    if n < 2:
        return float("nan"), float("nan")
    half = special.stdtrit(n - 1, 0.975) * data.std(ddof=1) / n**0.5
    return float(data.mean() - half), float(data.mean() + half)


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
