"""skip: the hourglass with skip connections of the original Deep Image Prior."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior, halvings, upsample_bilinear


def conv_block(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Reflection-padded convolution, batch norm, leaky ReLU: the unit that the original is built of."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, padding_mode="reflect"),
        nn.BatchNorm2d(c_out),
        nn.LeakyReLU(0.2, inplace=True),
    )


class SkipNet(DeepImagePrior):
    """Published: 128 channels, 5 scales, 4 skip channels, for photographs of 512 px.

    Adapted to size: a scale is dropped for each halving that would leave less than 4 px or half a pixel (3 scales at
    32 px), and the width is halved at 64 px and below, where 128 channels cost four times as much and change PSNR
    little.
    """

    name = "skip"
    source = "Ulyanov et al. 2018, arXiv 1711.10925, supplementary material"
    depth, skip_channels = 32, 4
    coarsest = 4
    """Pixels of a side that the coarsest scale has at least."""

    def __init__(self, size: int = 32, width: int | None = None):
        super().__init__(size, width)
        width = width or (64 if size <= 64 else 128)
        scales = min(5, halvings(size, self.coarsest))
        inputs = [self.depth] + [width] * (scales - 1)
        self.down = nn.ModuleList(
            nn.Sequential(conv_block(c, width, 3, stride=2), conv_block(width, width, 3)) for c in inputs
        )
        self.skip = nn.ModuleList(conv_block(c, self.skip_channels, 1) for c in inputs if self.skip_channels)
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(width + self.skip_channels),
                conv_block(width + self.skip_channels, width, 3),
                conv_block(width, width, 1),
            )
            for _ in inputs
        )
        self.head = nn.Conv2d(width, 3, 1)

    def z_shape(self) -> tuple[int, int, int]:
        return self.depth, self.size, self.size

    def layers(self, z: Tensor) -> Tensor:
        h, skips, sides = z, [], []
        for scale, down in enumerate(self.down):
            sides.append(h.shape[-1])
            if self.skip_channels:
                skips.append(self.skip[scale](h))
            h = down(h)
        for up in reversed(self.up):
            h = upsample_bilinear(h, sides.pop())  # twice the pixels, or one fewer where they were odd
            if self.skip_channels:
                h = torch.cat([h, skips.pop()], dim=1)
            h = up(h)
        return self.head(h)
