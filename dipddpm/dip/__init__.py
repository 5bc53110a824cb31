"""Deep Image Prior architectures: one file each, an ordinary PyTorch module that maps a fixed random z to an image.

A new architecture is a new file here with a subclass of :class:`DeepImagePrior`. It is written for single images with
the layers of ``torch.nn``; ``dipddpm.stacking`` gives every image of a batch its own weights.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from dipddpm.registry import choose, discover
from dipddpm.rng import ImageRng


class DeepImagePrior(nn.Module, ABC):
    """An untrained network f_theta whose structure is the prior (Ulyanov et al. 2018, arXiv 1711.10925).

    A subclass builds itself for ``size`` pixels (a multiple of 8) with its published width and depth adapted to that
    size, and implements :meth:`layers`. It must not carry state from one call to the next.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    lr: ClassVar[float] = 0.01
    """Learning rate of Adam that its authors publish."""

    def __init__(self, size: int = 32, width: int | None = None):
        super().__init__()
        self.size = size

    @abstractmethod
    def z_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the input z."""

    @abstractmethod
    def layers(self, z: Tensor) -> Tensor:
        """(N, *z_shape) -> (N, 3, size, size), unbounded."""

    def forward(self, z: Tensor) -> Tensor:
        """(N, *z_shape) -> (N, 3, size, size) in [-1, 1], the range that the diffusion works in."""
        return 2 * torch.sigmoid(self.layers(z)) - 1

    def draw_z(self, rng: ImageRng) -> Tensor:
        """z ~ U(0, 0.1), one an image (1711.10925, supplementary material)."""
        return 0.1 * rng.rand(*self.z_shape())


def architectures() -> Mapping[str, type[DeepImagePrior]]:
    """Every architecture, by name."""
    return discover(sys.modules[__name__], DeepImagePrior)


def architecture(name: str) -> type[DeepImagePrior]:
    """The architecture of that name.

    Raises:
        InputError: there is none; the message lists all.
    """
    return architectures()[choose("DIP architecture", name, architectures())]
