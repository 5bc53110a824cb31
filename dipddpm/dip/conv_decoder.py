"""conv_decoder: a deep decoder with 3x3 convolutions, over-parameterised."""

from __future__ import annotations

from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior

START = 4  # pixels at which the decoder begins


class ConvDecoder(DeepImagePrior):
    """Nearest upsampling, 3x3 convolution, ReLU, batch norm, repeated; then a convolution block and a 1x1 layer.

    Adapted to size: published for 640 px with 256 channels and 8 layers; here it doubles from 4 px, with 64 channels
    at 64 px and below and 128 above.
    """

    name = "conv_decoder"
    source = "Darestani & Heckel 2021, arXiv 2007.02471, section 2"

    def __init__(self, size: int = 32, width: int | None = None):
        super().__init__(size, width)
        self.width = width = width or (64 if size <= 64 else 128)
        blocks: list[nn.Module] = []
        for block in range((size // START).bit_length()):
            if block:
                blocks.append(nn.Upsample(scale_factor=2, mode="nearest"))
            blocks += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(width)]
        self.decoder = nn.Sequential(*blocks, nn.Conv2d(width, 3, 1))

    def z_shape(self) -> tuple[int, int, int]:
        return self.width, START, START

    def layers(self, z: Tensor) -> Tensor:
        return self.decoder(z)
