"""Stopping rules: which iterate of a DIP fit to keep, and how many iterations that costs. One file each.

A rule watches the outputs of one trajectory and decides for each image by itself. What it keeps is an output as it was
seen while fitting, f(z + xi), input noise included, as in the published code of es-wmv. Stopping after a fixed duration
needs no rule: it is what the snapshots of ``fit_dip`` are, f(z).
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from dipddpm.registry import choose, discover


class StoppingRule(ABC):
    """Watches a fit of at most ``budget`` iterations.

    Args:
        budget: iterations that the fit runs for.
        x_0: the photographs (N, 3, H, W); given to a rule whose ``leak`` says that it looks at them, else None.

    Attributes:
        mu: (N, 3, H, W), the iterate kept, f(z + xi).
        charged: (N,), iterations that had to run before the rule could decide.
    """

    name: ClassVar[str]
    leak: ClassVar[str] = "none"
    trains: ClassVar[bool] = False
    """Whether it trains networks of its own while it watches, which costs seconds of the order of the fit."""
    mu: Tensor
    charged: Tensor

    @abstractmethod
    def __init__(self, budget: int, x_0: Tensor | None): ...

    @abstractmethod
    def see(self, iteration: int, output: Tensor) -> None:
        """Look at the output f(z + xi), (N, 3, H, W), of an iteration, counted from 1."""

    def _keep(self, better: Tensor, output: Tensor) -> None:
        """Keep ``output`` for the images where ``better`` (N,) holds."""
        self.mu = torch.where(better[:, None, None, None], output, self.mu)


class LeastScore(StoppingRule):
    """Keeps the iterate of the least score, which is known once no better one came for ``patience`` iterations.

    A subclass gives each output a score. The patience is charged, as are the iterations before the first score. Until
    an image has a score there is nothing to compare, and its newest output is kept.

    Attributes:
        patience: iterations to wait for a lower score.
    """

    patience: int

    @abstractmethod
    def score(self, iteration: int, output: Tensor) -> Tensor | None:
        """The score of each image (N,), or None where it is too early for one."""

    def see(self, iteration: int, output: Tensor) -> None:
        if iteration == 1:
            n, device = len(output), output.device
            self.charged = torch.zeros(n, device=device)
            self._least = torch.full((n,), torch.inf, dtype=torch.float64, device=device)
            self._at = torch.zeros(n, device=device)
            self._stopped = torch.zeros(n, dtype=torch.bool, device=device)
        score = self.score(iteration, output)
        going_on = ~self._stopped
        self.charged = torch.where(going_on, iteration, self.charged)
        if score is None:
            self.mu = output
            return
        better = going_on & (score < self._least)
        self._keep(better, output)
        self._least = torch.where(better, score.double(), self._least)
        self._at = torch.where(better, iteration, self._at)
        self._stopped |= iteration - self._at >= self.patience


def stopping_rules() -> Mapping[str, type[StoppingRule]]:
    """Every rule, by name."""
    return discover(sys.modules[__name__], StoppingRule)


def stopping_rule_class(name: str) -> type[StoppingRule]:
    """The rule of that name.

    Raises:
        InputError: there is none; the message lists all.
    """
    return stopping_rules()[choose("stopping rule", name, stopping_rules())]
