"""Every population metric of one set of samples, by title."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.errors import InputError
from dipddpm.population import PopulationMetric, Titled, population_metrics, title
from dipddpm.population.diversity import mean_pairwise_distance
from dipddpm.population.extrapolation import RESAMPLES, extrapolate
from dipddpm.population.floor import disjoint
from dipddpm.population.intervals import interval

FLOOR_REPEATS = 5


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
    resample: bool = True,
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
        resample: give values their intervals.
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
        if resample and kind.resampled is not PopulationMetric.resampled:  # one that resamples in one pass
            around = interval(metric, samples, against)
            value = around.value
            bounds = (around.low, around.high) if math.isfinite(around.high - around.low) else None
        else:
            value = metric(samples, against)
        found[title(name, extractor, len(samples), split)] = Score(value, bounds, metric.higher_is_better)
    if not only and min(len(samples), len(reference)) >= 6 * samples.shape[1]:
        line = extrapolate(samples, reference, resamples=RESAMPLES if resample else 0)
        limit = line.infinity
        bounds = (limit.low, limit.high) if resample else None
        found[f"FD∞-{extractor.name}-{split}"] = Score(limit.value, bounds, False)
        for n, value in zip(line.sizes[:-1], line.values, strict=False):
            found[title("fd", extractor, n, split)] = Score(value, None, False)
    return found


def floor_scores(
    samples: Tensor,
    reference: Tensor,
    photographs: tuple[Sequence[str], Sequence[str]],
    extractor: Titled,
    split: str,
    only: Collection[str] = (),
    metrics: Mapping[str, type[PopulationMetric]] | None = None,
    repeats: int = FLOOR_REPEATS,
) -> Mapping[str, Score]:
    """The floor: what real images score against real images of other photographs, by the titles of :func:`scores`.

    The first draw holds ``samples`` against ``reference``; the others draw two sets as large from both together, as
    long as the photographs can be parted so. Metrics of memorisation have no floor: 0 is chance.

    Args:
        samples: (N, D), real images that play the samples: those that priors are made of, or that are restored.
        reference: (M, D), real images.
        photographs: of every row of ``samples``, and of ``reference``.

    Returns:
        the mean of the draws, and in place of an interval the smallest and the largest of them.

    Raises:
        InputError: both sets have images of one photograph.
    """
    if shared := sorted(set(photographs[0]) & set(photographs[1])):
        raise InputError(f"floor: samples and reference share the photograph {shared[0]!r}: take a reference of others")
    known = population_metrics() if metrics is None else metrics
    bounded = {name: kind for name, kind in known.items() if not kind.needs_held_out}
    real, names, draws = torch.cat([samples, reference]), [*photographs[0], *photographs[1]], [(samples, reference)]
    with suppress(InputError):  # sets that cannot be drawn anew are what there is
        draws += [disjoint(real, len(samples), len(reference), seed, names) for seed in range(1, repeats)]
    found = [scores(a, b, a, extractor, split, only=only, metrics=bounded, resample=False) for a, b in draws]
    made = {}
    for name, first in found[0].items():
        values = [draw[name].value for draw in found]
        made[name] = Score(sum(values) / len(values), (min(values), max(values)), first.higher_is_better)
    return made


def spread_within(first: Tensor, second: Tensor) -> float:
    """How far apart two samples of one prior are, over how far apart samples of different priors are.

    0: the prior decides everything; 1: nothing. (N, D) features of two draws, row i of the same prior in both.
    """
    return float((first - second).norm(dim=1).mean()) / mean_pairwise_distance(torch.cat([first, second]))


def distance_from(priors: Tensor, samples: Tensor) -> float:
    """How far samples are from their own prior, over how far apart samples are; (N, D) features, row by row."""
    return float((samples - priors).norm(dim=1).mean()) / mean_pairwise_distance(samples)
