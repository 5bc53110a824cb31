"""Intervals for population metrics, from features alone: no image is sampled again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dipddpm.population import PopulationMetric

RESAMPLES = 200


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval over n samples."""

    value: float
    low: float
    high: float
    n: int


def around(value: float, resampled: Sequence[float], n: int) -> Interval:
    """The middle 95 % of the resampled values that are finite, shifted so that their median stands on ``value``.

    A resample repeats some rows and lacks others, which adds to a Frechet distance the bias of small N once more, and
    lowers a recall: its spread is what one wants of it, its place is not. One of a few images may be a single image
    repeated, of which a KID has no pair and no value.
    """
    finite = np.asarray(resampled)[np.isfinite(resampled)]
    low, middle, high = np.quantile(finite, [0.025, 0.5, 0.975]) if len(finite) else [np.nan] * 3
    return Interval(value, float(value - (middle - low)), float(value + (high - middle)), n)


def interval(
    metric: PopulationMetric, features: Tensor, reference: Tensor, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The metric with its 95 % bootstrap interval over the samples; the same numbers at every call.

    The reference is held fixed, as it is part of the metric's title: rows against one reference share whatever is
    peculiar to it.

    Args:
        features: (N, D) of samples; rows are resampled. Of two there is no interval (NaN): a resample is the same two,
            or one of them twice.
        reference: (M, D).
    """
    if len(features) < 3:
        return Interval(metric(features, reference), np.nan, np.nan, len(features))
    rng = torch.Generator().manual_seed(seed)
    drawn = [torch.randint(len(features), (len(features),), generator=rng) for _ in range(resamples)]
    return around(metric(features, reference), metric.resampled(features, reference, drawn), len(features))
