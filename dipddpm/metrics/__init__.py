"""Image metrics against the photograph: one file each, on batches, on any device."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from dipddpm.registry import Comparable, choose, discover

CHUNK = 32  # images at once: what is computed of more leaves the cache of a CPU


class Metric(Comparable, ABC):
    """A number per image."""

    name: ClassVar[str]
    unit: ClassVar[str]
    definition: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    perceptual: ClassVar[bool] = False
    """True where it judges as people do who look; False where it compares pixel by pixel."""
    kind: ClassVar[Literal["quality"]] = "quality"

    @abstractmethod
    def __call__(self, x_hat: Tensor, x_0: Tensor) -> Tensor:
        """(N,) for restored and true images (N, C, H, W) in [-1, 1]; values outside are clipped."""

    def check(self) -> None:
        """Make sure that what the metric needs is there, before hours of work are to be scored.

        Raises:
            InputError: it is not.
        """


def metrics() -> Mapping[str, type[Metric]]:
    """Every metric, by name."""
    return discover(sys.modules[__name__], Metric)


def metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        InputError: there is none; the message lists all.
    """
    return metrics()[choose("metric", name, metrics())]()


def in_chunks(metric: Callable[[Tensor, Tensor], Tensor], x_hat: Tensor, x_0: Tensor) -> Tensor:
    """(N,) of a metric on [0, 1] for images on [-1, 1], computed ``CHUNK`` images at a time."""
    pairs = zip(x_hat.split(CHUNK), x_0.split(CHUNK), strict=True)
    return torch.cat([metric(unit_range(a), unit_range(b)) for a, b in pairs])


def unit_range(x: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1], clipped: both metrics are defined with a data range of 1."""
    return ((x + 1) / 2).clamp(0, 1)
