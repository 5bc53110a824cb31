"""inpaint: random pixels missing (all three colours of a pixel together)."""

from __future__ import annotations

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

    def to(self, device) -> Mask:
        return Mask(self.mask.to(device))


class Inpaint(Task):
    """70 % of the pixels are missing, exactly, at random places; no noise."""

    name = "inpaint"
    description = "70 % of the pixels missing at random, noiseless"
    missing = 0.7

    def operator(self, rng: ImageRng, size: int) -> Mask:
        rank = rng.rand(size * size).argsort(dim=1).argsort(dim=1)
        mask = (rank >= round(self.missing * size * size)).float()
        return Mask(mask.reshape(-1, 1, size, size).to(torch.float32))
