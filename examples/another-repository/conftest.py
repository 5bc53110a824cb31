"""Suites of dipddpm on an architecture of this repository: `dipddpm bench duration --axis dip.architecture=pixels`."""

from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior
from dipddpm.registry import register


@register
class Pixels(DeepImagePrior):
    name, source = "pixels", "three lines: how well does a convolution of its input do?"

    def __init__(self, size: int = 32, width: int | None = None):
        super().__init__(size, width)
        c = width or 16
        self.net = nn.Sequential(
            nn.Conv2d(4, c, 5, padding=2), nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, 3, 5, padding=2)
        )

    def z_shape(self) -> tuple[int, int, int]:
        return 4, self.size, self.size

    def layers(self, z: Tensor) -> Tensor:
        return self.net(z)
