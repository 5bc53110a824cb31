"""The floor: what real images score against other real images. It stands in every table beside what it bounds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dipddpm.errors import InputError
from dipddpm.population import PopulationMetric

TRIES = 100  # orders of the photographs that are tried; sets of images that are photographs of their own need one


def disjoint(
    real: Tensor, n: int, m: int, seed: int = 0, photographs: Sequence[str] | None = None
) -> tuple[Tensor, Tensor]:
    """n and m different rows of ``real`` that share no photograph, chosen at random but always the same for a seed.

    Args:
        photographs: of every row; by default each row is a photograph of its own.

    Raises:
        InputError: fewer than n + m rows, or photographs that cannot be parted so that both sides hold enough.
    """
    if n + m > len(real):
        raise InputError(f"floor: {n} + {m} disjoint real images asked for, there are {len(real)}")
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(map(str, range(len(real))) if photographs is None else photographs):
        rows.setdefault(name, []).append(i)
    groups, rng = list(rows.values()), torch.Generator().manual_seed(seed)
    for _ in range(TRIES):
        order, first = iter(torch.randperm(len(groups), generator=rng).tolist()), list[int]()
        for group in order:
            first += groups[group]
            if len(first) >= n:
                break
        second = [i for group in order for i in groups[group]]
        if len(first) >= n and len(second) >= m:
            return real[_some(first, n, rng)], real[_some(second, m, rng)]
    raise InputError(
        f"floor: {len(groups)} photographs with {len(real)} images cannot be parted into {n} and {m} images that share "
        "no photograph"
    )


def _some(rows: list[int], count: int, rng: torch.Generator) -> list[int]:
    """``count`` of the rows; all of them in their order where there are no more."""
    if len(rows) == count:
        return rows
    return [rows[i] for i in torch.randperm(len(rows), generator=rng)[:count].tolist()]


def floor(
    metric: PopulationMetric,
    real: Tensor,
    n: int | None = None,
    m: int | None = None,
    repeats: int = 1,
    seed: int = 0,
    photographs: Sequence[str] | None = None,
) -> list[float]:
    """The metric between two disjoint sets of real images, one value per repeat.

    Args:
        real: (R, D) features of real images.
        n: size of the set that plays the samples: that of the row it is a floor for. Default: half.
        m: size of the set that plays the reference. Default: as many as n.
        repeats: how often to draw the two sets anew.
        photographs: of every row of ``real``; the two sets share none. Default: each row is a photograph of its own.
    """
    n = len(real) // 2 if n is None else n
    m = n if m is None else m
    return [metric(*disjoint(real, n, m, seed + i, photographs)) for i in range(repeats)]
