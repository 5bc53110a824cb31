"""fixed_upsampling: a small decoder whose fixed upsampling is the prior."""

from __future__ import annotations

import math

from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior, upsample_bilinear


class FixedUpsampling(DeepImagePrior):
    """Six blocks of 3x3 convolution, bilinear upsampling, ReLU and batch norm, the last one without upsampling; then a
    1x1 layer. There are no skips, and nothing that upsamples is learned: that is what makes the image smooth.

    Published: 128 channels from 16 px on, where each of five upsamplings enlarges by the fifth root of the whole (by 2
    for 512 px, by 1.74 for 256 px), rounded up to whole pixels.

    Adapted to size: it starts from an eighth of the size, of at least 4 and at most 16 px (4 px at 32 px, of which the
    blocks make 7, 10, 14, 22 and 32 px), and the width is halved at 64 px and below, as that of ``skip`` is.
    """

    name = "fixed_upsampling"
    source = (
        "Liu et al. 2023 (ICCV), The Devil is in the Upsampling, arXiv 2304.11409; "
        "github.com/YilinLiu97/FasterDIP-devil-in-upsampling"
    )
    input_noise = 0.0  # reg_noise_std of their scripts for this decoder
    upsamplings = 5

    def __init__(self, size: int = 32, width: int | None = None):
        super().__init__(size, width)
        self.width = width = width or (64 if size <= 64 else 128)
        self.start = min(16, max(4, size // 8))
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(self.upsamplings + 1))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in self.convolutions)
        self.head = nn.Conv2d(width, 3, 1)

    def sides(self) -> list[int]:
        """Pixels of a side after each upsampling."""
        by = (self.size / self.start) ** (1 / self.upsamplings)
        # a power that is a whole number but for rounding is that number
        return [math.ceil(self.start * by**i - 1e-6) for i in range(1, self.upsamplings + 1)]

    def z_shape(self) -> tuple[int, int, int]:
        return self.width, self.start, self.start

    def layers(self, z: Tensor) -> Tensor:
        h = z
        for convolution, norm, side in zip(self.convolutions, self.norms, [*self.sides(), self.size], strict=True):
            h = convolution(h)
            if side != h.shape[-1]:
                h = upsample_bilinear(h, side)
            h = norm(h.relu())
        return self.head(h)
