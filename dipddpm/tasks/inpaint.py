"""inpaint: pixels missing, at random or in a box (all three colours of a pixel together)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from dipddpm.rng import ImageRng
from dipddpm.tasks import Operator, Task


class Mask(Operator):
    """Keeps the pixels where the mask is 1. Its own adjoint and pseudo-inverse.

    Args:
        mask: (N, 1, H, W) of 0 and 1.
    """

    def __init__(self, mask: Tensor):
        self.mask = mask

    def A(self, x: Tensor) -> Tensor:
        return self.mask * x

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.mask * y

    def A_pinv(self, y: Tensor) -> Tensor:
        return self.mask * y


class Inpaint(Task):
    """70 % of the pixels are missing, exactly, at random places; no noise."""

    name = "inpaint"
    description = "70 % of the pixels missing at random, noiseless"
    missing: ClassVar[float] = 0.7

    def operator(self, rng: ImageRng, size: int) -> Mask:
        rank = rng.rand(size * size).argsort(dim=1).argsort(dim=1)
        mask = (rank >= round(self.missing * size * size)).float()
        return Mask(mask.reshape(-1, 1, size, size))


class Inpaint50(Inpaint):
    """Half of the pixels are missing."""

    name = "inpaint_50"
    description = "50 % of the pixels missing at random, noiseless"
    missing = 0.5


class InpaintBox(Task):
    """The central square of half the height and width is missing."""

    name = "inpaint_box"
    description = "central box of half the height and width missing, noiseless"

    def operator(self, rng: ImageRng, size: int) -> Mask:
        mask = torch.ones(len(rng), 1, size, size)
        mask[:, :, size // 4 : size - size // 4, size // 4 : size - size // 4] = 0
        return Mask(mask)
