"""Image metrics against the photograph: one file each, on batches, on any device."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from dipddpm.registry import discover


class Metric(ABC):
    """A number an image."""

    name: ClassVar[str]
    unit: ClassVar[str]
    definition: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    kind: ClassVar[Literal["quality"]] = "quality"

    @abstractmethod
    def __call__(self, x_hat: Tensor, x_0: Tensor) -> Tensor:
        """(N,) for restored and true images (N, C, H, W) in [-1, 1]; values outside are clipped."""


def metrics() -> Mapping[str, type[Metric]]:
    """Every metric, by name."""
    return discover(sys.modules[__name__], Metric)


def unit_range(x: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1], clipped: both metrics are defined with a data range of 1."""
    return ((x + 1) / 2).clamp(0, 1)
