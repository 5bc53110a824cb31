"""es-wmv: stop where the output moves least."""

from __future__ import annotations

import torch
from torch import Tensor

from dipddpm.stopping import LeastScore


class WindowedMovingVariance(LeastScore):
    """Early stopping by windowed moving variance (Wang et al. 2112.06074, algorithm 1).

    The variance of the last ``window`` outputs falls while structure is fitted and rises with the noise; its minimum
    marks the iterate to keep, known ``patience`` iterations later. Published: window 100 and patience 1000 for fits of
    several thousand iterations; here they scale with the budget. The patience is charged. Until a window is full there
    is nothing to compare, and the newest output is kept.

    The running sums are in double precision. Of values near 1 the two terms of the variance agree to 1e-7 where
    outputs move by 3e-4, which is all that single precision resolves: there the variance of smooth images became
    negative, and a rounding error the minimum.
    """

    name = "es-wmv"

    def __init__(self, budget: int, x_0: Tensor | None = None):
        self.window, self.patience = max(5, budget // 20), max(10, budget // 5)
        self._recent: list[Tensor] = []

    def score(self, iteration: int, output: Tensor) -> Tensor | None:
        """The variance over the window, mean over values."""
        if iteration == 1:
            self._sum = self._squares = torch.zeros_like(output, dtype=torch.float64)
        self._recent.append(output)
        newest = output.double()
        self._sum, self._squares = self._sum + newest, self._squares + newest**2
        if len(self._recent) > self.window:
            oldest = self._recent.pop(0).double()
            self._sum, self._squares = self._sum - oldest, self._squares - oldest**2
        if len(self._recent) < self.window:
            return None
        return (self._squares / self.window - (self._sum / self.window) ** 2).flatten(1).mean(1)
