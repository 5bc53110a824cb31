"""deep_decoder: no convolution wider than one pixel, fewer parameters than the image has values."""

from __future__ import annotations

from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior

START = 4  # pixels at which the decoder begins


class DeepDecoder(DeepImagePrior):
    """1x1 mixing, bilinear upsampling, ReLU, channel norm, repeated; then a 1x1 layer to three colours.

    Adapted to size: it doubles from 4 px, and the width is the largest (up to the published 128) that keeps it
    under-parameterised, which is its whole point: fewer parameters than 3 size^2.
    """

    name = "deep_decoder"
    source = "Heckel & Hand 2019, arXiv 1810.03982, section 2"

    def __init__(self, size: int = 32, width: int | None = None):
        super().__init__(size, width)
        doublings = (size // START).bit_length() - 1
        width = width or max(w for w in range(4, 129, 4) if self._parameters_at(w, doublings) < 3 * size**2)
        self.width = width
        blocks: list[nn.Module] = []
        for block in range(doublings + 1):
            blocks.append(nn.Conv2d(width, width, 1, bias=False))
            if block < doublings:
                blocks.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
            blocks += [nn.ReLU(), nn.BatchNorm2d(width)]
        self.decoder = nn.Sequential(*blocks, nn.Conv2d(width, 3, 1, bias=False))

    @staticmethod
    def _parameters_at(width: int, doublings: int) -> int:
        return (doublings + 1) * (width**2 + 2 * width) + 3 * width

    def z_shape(self) -> tuple[int, int, int]:
        return self.width, START, START

    def layers(self, z: Tensor) -> Tensor:
        return self.decoder(z)
