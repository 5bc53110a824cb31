"""The Frechet distance for infinitely many images, from its values at several N.

Chong & Forsyth 2020 (arXiv 1911.07023): E[FD at N] = FD_infinity + c / N to first order, and c depends on the samples,
so that two sets may change places with N. Here N is the size of *both* sets, because a small reference biases as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dipddpm.errors import InputError
from dipddpm.population import pair
from dipddpm.population.fd import between, statistics
from dipddpm.population.intervals import Interval, around

SIZES = 6
REPEATS = 4
RESAMPLES = 100


@dataclass(frozen=True)
class Extrapolation:
    """FD at each N, and where the line through them meets 1/N = 0.

    Attributes:
        sizes: N, growing.
        values: mean FD at each.
        infinity: with its 95 % interval over samples and reference images.
        slope: FD = infinity + slope / N.
    """

    sizes: tuple[int, ...]
    values: tuple[float, ...]
    infinity: Interval
    slope: float


def extrapolate(
    features: Tensor,
    reference: Tensor,
    sizes: Sequence[int] | None = None,
    repeats: int = REPEATS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Extrapolation:
    """FD at several N and at infinity; the same numbers at every call.

    Args:
        features: (N, D) of samples.
        reference: (M, D) of real images.
        sizes: at least two, each above D and at most min(N, M). Default: six, evenly spaced in 1/N, from a quarter of
            the smaller set (but at least 4 D: the law in 1/N is of first order) to all of it.
        repeats: random subsets a size, averaged.

    Raises:
        InputError: sets too small for two sizes, or sizes out of range.
    """
    features, reference = pair(features, reference, least=2)
    most, width = min(len(features), len(reference)), features.shape[1]
    if sizes is None:
        least = max(most // 4, 4 * width)
        if most < 1.5 * least:
            raise InputError(f"extrapolation: {width} features need {6 * width} images in both sets, there are {most}")
        sizes = [round(1 / x) for x in np.linspace(1 / least, 1 / most, SIZES)]
    sizes = sorted(set(sizes))
    if len(sizes) < 2 or sizes[0] <= width or sizes[-1] > most:
        raise InputError(f"extrapolation: needs two sizes or more from {width + 1} to {most}, got {sizes}")

    rng = torch.Generator().manual_seed(seed)
    values = _values(features, reference, sizes, repeats, rng)
    slope, infinity = _line(sizes, values)
    # Both sets are resampled, for the extrapolated value generalises over both.
    resampled = []
    for _ in range(resamples):
        a = features[torch.randint(len(features), (len(features),), generator=rng)]
        b = reference[torch.randint(len(reference), (len(reference),), generator=rng)]
        resampled.append(_line(sizes, _values(a, b, sizes, 1, rng))[1])
    return Extrapolation(tuple(sizes), tuple(values), around(infinity, resampled, len(features)), slope)


def _values(a: Tensor, b: Tensor, sizes: Sequence[int], repeats: int, rng: torch.Generator) -> list[float]:
    def subset(of: Tensor, n: int) -> dict[str, np.ndarray]:
        return statistics(of[torch.randperm(len(of), generator=rng)[:n]])

    return [float(np.mean([between(subset(a, n), subset(b, n)) for _ in range(repeats)])) for n in sizes]


def _line(sizes: Sequence[int], values: Sequence[float]) -> tuple[float, float]:
    """Slope and intercept of the least-squares line over 1/N."""
    slope, intercept = np.polyfit(1 / np.asarray(sizes, dtype=float), values, 1)
    return float(slope), float(intercept)
