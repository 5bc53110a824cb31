"""oracle: stop at the best iterate by the photograph. A bound on what a rule that keeps an iterate it saw can bring."""

from __future__ import annotations

import torch
from torch import Tensor

from dipddpm.stopping import StoppingRule


class Oracle(StoppingRule):
    """Keeps the iterate with the least squared error against x_0; charged up to that iterate alone.

    It bounds the rules, which keep f(z + xi) as it was seen while fitting, and no fixed duration, which ends in f(z)
    without input noise.
    """

    name = "oracle"
    leak = "clean-target"

    def __init__(self, budget: int, x_0: Tensor | None):
        assert x_0 is not None
        self.x_0 = x_0
        self.mu = torch.zeros_like(x_0)
        self.charged = torch.zeros(len(x_0), device=x_0.device)
        self._least = torch.full((len(x_0),), torch.inf, device=x_0.device)

    def see(self, iteration: int, output: Tensor) -> None:
        error = (output - self.x_0).square().flatten(1).mean(1)
        better = error < self._least
        self._keep(better, output)
        self._least = torch.where(better, error, self._least)
        self.charged = torch.where(better, iteration, self.charged)
