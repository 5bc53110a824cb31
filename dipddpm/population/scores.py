"""Every population metric of one set of samples, by title."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.population import PopulationMetric, Titled, population_metrics, title
from dipddpm.population.diversity import mean_pairwise_distance
from dipddpm.population.extrapolation import extrapolate
from dipddpm.population.intervals import interval


@dataclass(frozen=True)
class Score:
    """A value, its 95 % interval over the samples (None where resampling them is too dear, or they are too few), and
    which way is better."""

    value: float
    interval: tuple[float, float] | None
    higher_is_better: bool


def scores(
    samples: Tensor,
    reference: Tensor,
    trained_on: Tensor,
    extractor: Titled,
    split: str,
    held_out: Tensor | None = None,
    only: Collection[str] = (),
    metrics: Mapping[str, type[PopulationMetric]] | None = None,
) -> Mapping[str, Score]:
    """All that can be said of (N, D) features of samples; the Frechet distance only where N and M exceed D, and at
    several N and in the limit where they are six times as many.

    Args:
        reference: (M, D), real images.
        trained_on: (K, D), the photographs that a memorising sampler would give back.
        split: name of the reference.
        held_out: (H, D), real images that no sample was made from, for the memorisation metrics; None: the reference.
        only: names of the metrics that are asked for, each at N alone; all of them by default.
        metrics: the metrics to choose from, every registered one by default.
    """
    found, held_out = {}, reference if held_out is None else held_out
    for name, kind in (population_metrics() if metrics is None else metrics).items():
        if only and name not in only:
            continue
        metric = kind(held_out) if kind.needs_held_out else kind()
        if name == "fd" and min(len(samples), len(reference)) <= samples.shape[1]:
            continue
        against = trained_on if kind.needs_held_out else reference
        bounds = None
        if kind.resampled is not PopulationMetric.resampled:  # one that resamples in one pass
            around = interval(metric, samples, against)
            value = around.value
            bounds = (around.low, around.high) if math.isfinite(around.high - around.low) else None
        else:
            value = metric(samples, against)
        found[title(name, extractor, len(samples), split)] = Score(value, bounds, metric.higher_is_better)
    if not only and min(len(samples), len(reference)) >= 6 * samples.shape[1]:
        line = extrapolate(samples, reference)
        limit = line.infinity
        found[f"FD∞-{extractor.name}-{split}"] = Score(limit.value, (limit.low, limit.high), False)
        for n, value in zip(line.sizes[:-1], line.values, strict=False):
            found[title("fd", extractor, n, split)] = Score(value, None, False)
    return found


def spread_within(first: Tensor, second: Tensor) -> float:
    """How far apart two samples of one prior are, over how far apart samples of different priors are.

    0: the prior decides everything; 1: nothing. (N, D) features of two draws, row i of the same prior in both.
    """
    return float((first - second).norm(dim=1).mean()) / mean_pairwise_distance(torch.cat([first, second]))


def distance_from(priors: Tensor, samples: Tensor) -> float:
    """How far samples are from their own prior, over how far apart samples are; (N, D) features, row by row."""
    return float((samples - priors).norm(dim=1).mean()) / mean_pairwise_distance(samples)
