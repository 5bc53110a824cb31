"""The floor: what real images score against other real images. It stands in every table beside what it bounds."""

from __future__ import annotations

import torch
from torch import Tensor

from dipddpm.errors import InputError
from dipddpm.population import PopulationMetric


def disjoint(real: Tensor, n: int, m: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """n and m different rows of ``real`` that share none, chosen at random but always the same for a seed.

    Raises:
        InputError: fewer than n + m rows.
    """
    if n + m > len(real):
        raise InputError(f"floor: {n} + {m} disjoint real images asked for, there are {len(real)}")
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))
    return real[order[:n]], real[order[n : n + m]]


def floor(
    metric: PopulationMetric, real: Tensor, n: int | None = None, m: int | None = None, repeats: int = 1, seed: int = 0
) -> list[float]:
    """The metric between two disjoint sets of real images, one value per repeat.

    Args:
        real: (R, D) features of real images.
        n: size of the set that plays the samples: that of the row it is a floor for. Default: half.
        m: size of the set that plays the reference. Default: as many as n.
        repeats: how often to draw the two sets anew.
    """
    n = len(real) // 2 if n is None else n
    m = n if m is None else m
    return [metric(*disjoint(real, n, m, seed + i)) for i in range(repeats)]
