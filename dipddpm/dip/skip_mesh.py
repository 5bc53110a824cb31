"""skip_mesh: the skip net on the coordinates of its pixels in the place of noise."""

from __future__ import annotations

from torch import Tensor

from dipddpm.dip import mesh_grid
from dipddpm.dip.skip import SkipNet
from dipddpm.rng import ImageRng


class MeshSkipNet(SkipNet):
    """Published: z is the mesh grid of the pixels, two channels that rise from 0 to 1 across and down, for inpainting
    large holes, where a smooth input makes a smooth image; with noise of 0.03 on it, five scales and no skips.

    Adapted: all else is that of ``skip``, input noise included, so that the two differ in the input alone. z is the
    same for every image.
    """

    name = "skip_mesh"
    source = "Ulyanov et al. 2018, arXiv 1711.10925, section on inpainting; github.com/DmitryUlyanov/deep-image-prior"
    takes_images = False
    depth = 2

    def draw_z(self, rng: ImageRng) -> Tensor:
        """(N, 2, size, size) in [0, 1]; ``rng`` is not drawn from."""
        return mesh_grid(rng, self.size, 0.0)
