"""super_resolution: the mean of every block of pixels."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.rng import ImageRng
from dipddpm.tasks import Operator, Task


class BlockMean(Operator):
    """The mean over blocks of ``factor`` x ``factor`` pixels: A A^T is 1 / factor^2 on its diagonal and 0 elsewhere, so
    A^+ repeats each value.

    Blocks at the last row and column are smaller where the factor does not divide ``size``: their mean is that of the
    pixels that they have.
    """

    def __init__(self, factor: int, size: int):
        self.factor, self.size = factor, size

    def A(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.factor, ceil_mode=True)

    def A_adjoint(self, y: Tensor) -> Tensor:
        if self.size % self.factor == 0:
            return self.A_pinv(y) / self.factor**2
        side = torch.full((-(-self.size // self.factor),), self.factor, dtype=y.dtype, device=y.device)
        side[-1] = self.size % self.factor
        return self.A_pinv(y / (side[:, None] * side))

    def A_pinv(self, y: Tensor) -> Tensor:
        repeated = y.repeat_interleave(self.factor, -1).repeat_interleave(self.factor, -2)
        return repeated[..., : self.size, : self.size]


class SuperResolution(Task):
    """Twice the resolution in each direction; no noise."""

    name = "super_resolution"
    description = "x2 super-resolution from 2 x 2 block means, noiseless"
    factor: ClassVar[int] = 2

    def operator(self, rng: ImageRng, size: int) -> BlockMean:
        return BlockMean(self.factor, size)


class SuperResolution4(SuperResolution):
    """Four times the resolution in each direction."""

    name = "super_resolution_x4"
    description = "x4 super-resolution from 4 x 4 block means, noiseless"
    factor = 4
