"""siren: a network of sines from the coordinates of a pixel to its colour."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior, mesh_grid
from dipddpm.rng import ImageRng


class Siren(DeepImagePrior):
    """A network of 1x1 convolutions and sines, sin(omega_0 (W h + b)), from the column and row of a pixel in [-1, 1] to
    its colour: four layers of sines and a linear one. z is this grid, the same for every image and without noise.

    Weights of the first layer begin as U(-1/n, 1/n) of its n = 2 inputs, the others as U(-c, c) with
    c = sqrt(6/n) / omega_0, so that what enters a sine is about standard normal (section 3.2); biases as in torch.

    Published: 256 channels, omega_0 = 30 and a learning rate of 1e-4, for images of 256 px and more and thousands of
    iterations. Adapted to size: 64 channels and omega_0 = 10 at 64 px and below, where there are fewer waves across an
    image, and a rate of 1e-3, which serves fits of 150 to 800 iterations. On 8 validation photographs of 32 px, 70 %
    of the pixels missing, 150 iterations reach 27.0 dB; with omega_0 = 30 they reach 24.8 dB, with 128 channels too
    (at 5e-4), and with the published rate 22.1 dB (128 channels).
    """

    name = "siren"
    source = "Sitzmann et al. 2020, arXiv 2006.09661"
    takes_images = False
    lr = 1e-3
    input_noise = 0.0
    hidden = 3

    def __init__(self, size: int = 32, width: int | None = None):
        super().__init__(size, width)
        width = width or (64 if size <= 64 else 256)
        self.omega_0 = 10.0 if size <= 64 else 30.0
        self.sines = nn.ModuleList(nn.Conv2d(c, width, 1) for c in [2] + [width] * self.hidden)
        self.head = nn.Conv2d(width, 3, 1)
        for layer in (*self.sines, self.head):
            first, inputs = layer is self.sines[0], layer.in_channels
            bound = 1 / inputs if first else (6 / inputs) ** 0.5 / self.omega_0
            nn.init.uniform_(layer.weight, -bound, bound)

    def z_shape(self) -> tuple[int, int, int]:
        return 2, self.size, self.size

    def draw_z(self, rng: ImageRng) -> Tensor:
        """(N, 2, size, size) in [-1, 1]; ``rng`` is not drawn from."""
        return mesh_grid(rng, self.size, -1.0)

    def layers(self, z: Tensor) -> Tensor:
        h = z
        for layer in self.sines:
            h = torch.sin(self.omega_0 * layer(h))
        return self.head(h)
