"""es-emv: stop where the output moves least about its exponential average."""

from __future__ import annotations

import torch
from torch import Tensor

from dipddpm.stopping import LeastScore


class ExponentialMovingVariance(LeastScore):
    """Early stopping by exponential moving variance (ES-EMV of Wang et al. 2112.06074), which needs the memory
    of one image in the place of a window of them.

    With d = x - EMA, the distance of a new output x from the average so far::

        EMA <- EMA + alpha d
        EMV <- (1 - alpha) (EMV + alpha ||d||^2)

    from EMA = x_1 and EMV = 0. Published: alpha 0.1 and patience 1000 for fits of 5000 iterations. Here both scale with
    the budget, as those of es-wmv do: the patience is the same, and alpha = 2 / (window + 1) is the weight of an
    exponential average that looks back as far as a window of es-wmv; it is 0.1 at a budget of 380. EMV is least where
    it begins, at 0, so nothing is compared before a window has passed; until then the newest output is kept.
    """

    name = "es-emv"

    def __init__(self, budget: int, x_0: Tensor | None = None):
        self.window, self.patience = max(5, budget // 20), max(10, budget // 5)
        self.alpha = 2 / (self.window + 1)

    def score(self, iteration: int, output: Tensor) -> Tensor | None:
        """EMV, mean over values."""
        if iteration == 1:
            self._average = output.double()
            self._variance = torch.zeros(len(output), dtype=torch.float64, device=output.device)
            return None
        away = output.double() - self._average
        self._average = self._average + self.alpha * away
        squared = away.square().flatten(1).mean(1)
        self._variance = (1 - self.alpha) * (self._variance + self.alpha * squared)
        return None if iteration <= self.window else self._variance
