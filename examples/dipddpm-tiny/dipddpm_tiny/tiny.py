"""tiny: a Deep Image Prior. An ordinary network for single images; the benchmark fits many of them at once."""

from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior, halvings


class Tiny(DeepImagePrior):
    """A decoder: noise of few pixels, doubled to the size of the image, with a block at each scale."""

    name = "tiny"  # what tables and --axis dip.architecture call it
    source = "an example"

    def __init__(self, size: int = 32, width: int | None = None):
        super().__init__(size, width)
        c = width or 32  # any width from 1 must do
        self.scales = halvings(size)  # how often this size can be halved
        blocks: list[nn.Module] = [_block(8, c)]
        for _ in range(self.scales):
            blocks += [nn.Upsample(scale_factor=2), _block(c, c)]
        self.net = nn.Sequential(*blocks, nn.Conv2d(c, 3, 1))

    def z_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the input."""
        px = self.size // 2**self.scales
        return 8, px, px

    def layers(self, z: Tensor) -> Tensor:
        """(N, *z_shape) -> (N, 3, size, size), unbounded. No state may be carried from one call to the next."""
        return self.net(z)


def _block(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2))
