"""KID: a distance without bias, the one to use where images are few."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from dipddpm.population import PopulationMetric, pair

BLOCK = 2048


class Kid(PopulationMetric):
    """Squared MMD with the kernel (x . y / D + 1)^3 (Binkowski et al. 2018, arXiv 1801.01401, section 4).

    Over all pairs instead of over random subsets of 1000: the estimate that such subsets approach, without their noise,
    for any N and M from 2. Equal to torch-fidelity's with one subset of everything. May be slightly negative.
    """

    name = "kid"
    label = "KID"
    unit = ""
    definition = "unbiased squared MMD, polynomial kernel of degree 3, over all pairs"
    higher_is_better = False

    def __call__(self, features: Tensor, reference: Tensor) -> float:
        return self.resampled(features, reference, [torch.arange(len(features))])[0]

    def resampled(self, features: Tensor, reference: Tensor, drawn: Iterable[Tensor]) -> list[float]:
        """All resamples from one pass over the kernel. A pair of an image and its own repetition is left out: with it,
        resampling would add a bias that the estimate does not have."""
        x, y = pair(features, reference, least=2)
        counts = torch.stack([torch.bincount(indices, minlength=len(x)) for indices in drawn]).double()  # (B, N)
        within, across, there = torch.zeros(3, len(counts), dtype=torch.float64)
        for start in range(0, len(x), BLOCK):
            here = counts[:, start : start + BLOCK]
            rows = _kernel(x[start : start + BLOCK], x)
            rows[torch.arange(len(rows)), torch.arange(start, start + len(rows))] = 0
            within += ((here @ rows) * counts).sum(1)
            across += (here * _kernel(x[start : start + BLOCK], y).sum(1)).sum(1)
        for start in range(0, len(y), BLOCK):  # symmetric: what stands right of the diagonal counts twice
            part, later = y[start : start + BLOCK], y[start + BLOCK :]
            there += _kernel(part, part).sum() - _kernel_of_same(part).sum() + 2 * _kernel(part, later).sum()
        n, m = counts.sum(1), len(y)
        pairs = n * n - counts.square().sum(1)
        return (within / pairs - 2 * across / (n * m) + there / (m * (m - 1))).tolist()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    k = (x @ y.T).div_(x.shape[1]).add_(1)
    return (k * k).mul_(k)  # a power of 3 takes twice as long


def _kernel_of_same(x: Tensor) -> Tensor:
    return (x.square().sum(1) / x.shape[1] + 1) ** 3
