"""deep_decoder: no convolution wider than one pixel, fewer parameters than the image has values."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior, halvings, upsample_bilinear


class DeepDecoder(DeepImagePrior):
    """1x1 mixing, bilinear upsampling, ReLU, channel norm, repeated; then a 1x1 layer to three colours.

    Adapted to size: it doubles as often as leaves a whole number of at least 4 px to begin with, and the width is the
    largest (up to the published 128) that keeps it under-parameterised, which is its whole point: fewer parameters
    than 3 size^2.
    """

    name = "deep_decoder"
    source = "Heckel & Hand 2019, arXiv 1810.03982, section 2; github.com/reinhardh/supplement_deep_decoder"
    input_noise = 0.0  # reg_noise_std of their code: on z ~ U(0, 0.1), 1/30 would be more noise than signal

    def __init__(self, size: int = 32, width: int | None = None):
        super().__init__(size, width)
        doublings = halvings(size)
        width = width or max(w for w in range(4, 129, 4) if self._parameters_at(w, doublings) < 3 * size**2)
        self.width, self.start = width, size >> doublings
        self.mix = nn.ModuleList(nn.Conv2d(width, width, 1, bias=False) for _ in range(doublings + 1))
        self.norm = nn.ModuleList(nn.BatchNorm2d(width) for _ in self.mix)
        self.head = nn.Conv2d(width, 3, 1, bias=False)

    @staticmethod
    def _parameters_at(width: int, doublings: int) -> int:
        return (doublings + 1) * (width**2 + 2 * width) + 3 * width

    def z_shape(self) -> tuple[int, int, int]:
        return self.width, self.start, self.start

    def layers(self, z: Tensor) -> Tensor:
        h = z
        for mix, norm in zip(self.mix, self.norm, strict=True):
            h = mix(h)
            if h.shape[-1] < self.size:  # after the last doubling one more block follows
                h = upsample_bilinear(h)
            h = norm(F.relu(h))
        return self.head(h)
