"""resnet: residual blocks at one resolution, that of the image."""

from __future__ import annotations

from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior


class ResidualBlock(nn.Module):
    """x + batch norm(conv(leaky ReLU(batch norm(conv(x)))))."""

    def __init__(self, width: int):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class ResNet(DeepImagePrior):
    """Convolution, leaky ReLU, 8 residual blocks, convolution, batch norm, convolution; nothing is ever downsampled.

    Published: 32 channels. Adapted to size: the width is halved at 64 px and below, as that of ``skip`` is, which
    keeps the cost of the two in about their published proportion.
    """

    name = "resnet"
    source = "Ulyanov et al. 2018, arXiv 1711.10925, section on inpainting; github.com/DmitryUlyanov/deep-image-prior"
    lr = 0.001
    depth, blocks = 32, 8

    def __init__(self, size: int = 32, width: int | None = None):
        super().__init__(size, width)
        width = width or (16 if size <= 64 else 32)
        self.network = nn.Sequential(
            nn.Conv2d(self.depth, width, 3, padding=1, padding_mode="reflect"),
            nn.LeakyReLU(0.2),
            *(ResidualBlock(width) for _ in range(self.blocks)),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, 3, 3, padding=1, padding_mode="reflect"),
        )

    def z_shape(self) -> tuple[int, int, int]:
        return self.depth, self.size, self.size

    def layers(self, z: Tensor) -> Tensor:
        return self.network(z)
