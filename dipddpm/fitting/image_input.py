"""A network whose input is an image: what the ways need that hand A^+ y, or their own estimate, to the network.

The published ways have networks of three input channels and of the size of the image. Those of this family have inputs
of many channels, the decoders at 4 pixels. A fixed linear map P of each image lies between: the mean of blocks of
pixels (copies of a pixel, where the input is larger), then a mixture of the three colours per channel, whose weights
are drawn from the generator of the image, N(0, 1/3), so that a channel is about as large as a colour. f(P x) is then a
network from images to images.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dipddpm.dip import DeepImagePrior
from dipddpm.fitting.trajectory import Problem


def refuses_images(architecture: type[DeepImagePrior]) -> str:
    """Why a network cannot be given an image, as the end of a sentence; "" where it can."""
    if architecture.takes_images:
        return ""
    return (
        f"gives an image to the network, and the input of DIP architecture {architecture.name!r} has to be the grid of "
        "its pixels: choose another architecture, or fit with 'plain'"
    )


class ImageInput(nn.Module):
    """P, one for each image of a batch: (N, 3, size, size) -> (N, channels, h, w), linear.

    Two matrix products resize, whose gradients add in a fixed order on every device.
    """

    def __init__(self, problem: Problem):
        super().__init__()
        channels, height, width = problem.z.shape[1:]
        self.mixture = problem.rng.randn(channels, 3) / 3**0.5
        identity = torch.eye(problem.size)[None]
        self.rows, self.columns = (
            F.adaptive_avg_pool1d(identity, pixels)[0].to(problem.z.device) for pixels in (height, width)
        )

    def forward(self, image: Tensor) -> Tensor:
        small = self.rows.T @ (image @ self.columns)
        return torch.bmm(self.mixture, small.flatten(2)).unflatten(2, small.shape[2:])


class OnImages(nn.Module):
    """f(P x), for several inputs of each image that pass one after the other: (N, K, 3, H, W) to the same shape."""

    def __init__(self, problem: Problem):
        super().__init__()
        self.network, self.input = problem.network, ImageInput(problem)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([self.network(self.input(x)) for x in images.unbind(1)], 1)
