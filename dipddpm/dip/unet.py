"""unet: the U-Net that the authors of the Deep Image Prior compare with."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior, halvings, upsample_bilinear


class UNet(DeepImagePrior):
    """Max-pooled encoder with batch norm and ReLU; a decoder without norms that sees all of the encoder's features.

    Published: 64 to 1024 channels over 4 halvings, divided by a feature scale of 4 or 8. Here it is 4: ``width`` = 16
    channels at full resolution, doubled at each halving. The decoder rises by bilinear upsampling and a 3x3
    convolution, one of the published modes.

    Adapted to size: a halving is dropped where it would leave less than 4 px or half a pixel (3 at 32 px).
    """

    name = "unet"
    source = "Ulyanov et al. 2018, arXiv 1711.10925, section on inpainting; github.com/DmitryUlyanov/deep-image-prior"
    lr = 0.001
    depth = 32

    def __init__(self, size: int = 32, width: int | None = None):
        super().__init__(size, width)
        width = width or 16
        scales = list(pairwise(width * 2**scale for scale in range(min(4, halvings(size)) + 1)))
        self.start = nn.Sequential(*self._normed(self.depth, width), *self._normed(width, width))
        self.down = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), *self._normed(fine, coarse), *self._normed(coarse, coarse))
            for fine, coarse in scales
        )
        self.rise = nn.ModuleList(nn.Conv2d(coarse, fine, 3, padding=1) for fine, coarse in reversed(scales))
        self.join = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(2 * fine, fine, 3, padding=1), nn.ReLU(), nn.Conv2d(fine, fine, 3, padding=1), nn.ReLU()
            )
            for fine, _ in reversed(scales)
        )
        self.head = nn.Conv2d(width, 3, 1)

    @staticmethod
    def _normed(c_in: int, c_out: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU()

    def z_shape(self) -> tuple[int, int, int]:
        return self.depth, self.size, self.size

    def layers(self, z: Tensor) -> Tensor:
        h, skips = self.start(z), []
        for down in self.down:
            skips.append(h)
            h = down(h)
        for rise, join in zip(self.rise, self.join, strict=True):
            h = join(torch.cat([rise(upsample_bilinear(h)), skips.pop()], dim=1))
        return self.head(h)
