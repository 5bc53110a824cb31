"""conv_decoder: a deep decoder with 3x3 convolutions, over-parameterised."""

from __future__ import annotations

from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior, halvings


class ConvDecoder(DeepImagePrior):
    """Nearest upsampling, 3x3 convolution, ReLU, batch norm, repeated; then a convolution block and a 1x1 layer.

    Adapted to size: published for 640 px with 256 channels and 8 layers; here it doubles as often as leaves a whole
    number of at least 4 px to begin with, and has 64 channels at 64 px and below and 128 above.
    """

    name = "conv_decoder"
    source = "Darestani & Heckel 2021, arXiv 2007.02471, section 2; github.com/MLI-lab/ConvDecoder"
    input_noise = 0.0  # reg_noise_std of their code

    def __init__(self, size: int = 32, width: int | None = None):
        super().__init__(size, width)
        self.width = width = width or (64 if size <= 64 else 128)
        doublings = halvings(size)
        self.start = size >> doublings
        blocks: list[nn.Module] = []
        for block in range(doublings + 1):
            if block:
                blocks.append(nn.Upsample(scale_factor=2, mode="nearest"))
            blocks += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(width)]
        self.decoder = nn.Sequential(*blocks, nn.Conv2d(width, 3, 1))

    def z_shape(self) -> tuple[int, int, int]:
        return self.width, self.start, self.start

    def layers(self, z: Tensor) -> Tensor:
        return self.decoder(z)
