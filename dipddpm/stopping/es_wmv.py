"""es-wmv: stop where the output moves least."""

from __future__ import annotations

import torch
from torch import Tensor

from dipddpm.stopping import StoppingRule


class WindowedMovingVariance(StoppingRule):
    """Early stopping by windowed moving variance (Wang et al. 2112.06074, algorithm 1).

    The variance of the last ``window`` outputs falls while structure is fitted and rises with the noise; its minimum
    marks the iterate to keep, known ``patience`` iterations later. Published: window 100 and patience 1000 for fits of
    several thousand iterations; here they scale with the budget. The patience is charged. Until a window is full there
    is nothing to compare, and the newest output is kept.
    """

    name = "es-wmv"

    def __init__(self, budget: int, x_0: Tensor | None = None):
        self.window, self.patience = max(5, budget // 20), max(10, budget // 5)
        self._recent: list[Tensor] = []

    def see(self, iteration: int, output: Tensor) -> None:
        if iteration == 1:
            n = len(output)
            self.charged = torch.zeros(n, device=output.device)
            self._sum = self._squares = torch.zeros_like(output)
            self._least = torch.full((n,), torch.inf, device=output.device)
            self._at = torch.zeros(n, device=output.device)
            self._stopped = torch.zeros(n, dtype=torch.bool, device=output.device)
        self._recent.append(output)
        self._sum, self._squares = self._sum + output, self._squares + output**2
        if len(self._recent) > self.window:
            oldest = self._recent.pop(0)
            self._sum, self._squares = self._sum - oldest, self._squares - oldest**2
        going_on = ~self._stopped
        self.charged = torch.where(going_on, iteration, self.charged)
        if len(self._recent) < self.window:
            self.mu = output
            return
        variance = (self._squares / self.window - (self._sum / self.window) ** 2).flatten(1).mean(1)
        better = going_on & (variance < self._least)
        self._keep(better, output)
        self._least = torch.where(better, variance, self._least)
        self._at = torch.where(better, iteration, self._at)
        self._stopped |= iteration - self._at >= self.patience
