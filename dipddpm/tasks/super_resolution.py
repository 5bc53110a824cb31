"""super_resolution: the mean of every block of pixels."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from dipddpm.rng import ImageRng
from dipddpm.tasks import Operator, Task


class BlockMean(Operator):
    """The mean over blocks of ``factor`` x ``factor`` pixels: A A^T = I / factor^2, so A^+ repeats each value."""

    def __init__(self, factor: int):
        self.factor = factor

    def A(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.factor)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.A_pinv(y) / self.factor**2

    def A_pinv(self, y: Tensor) -> Tensor:
        return y.repeat_interleave(self.factor, -1).repeat_interleave(self.factor, -2)


class SuperResolution(Task):
    """Twice the resolution in each direction; no noise."""

    name = "super_resolution"
    description = "x2 super-resolution from 2 x 2 block means, noiseless"
    factor: ClassVar[int] = 2

    def operator(self, rng: ImageRng, size: int) -> BlockMean:
        return BlockMean(self.factor)


class SuperResolution4(SuperResolution):
    """Four times the resolution in each direction."""

    name = "super_resolution_x4"
    description = "x4 super-resolution from 4 x 4 block means, noiseless"
    factor = 4
