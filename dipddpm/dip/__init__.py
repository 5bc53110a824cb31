"""Deep Image Prior architectures: one file each, an ordinary PyTorch module that maps a fixed z to an image.

A new architecture is a new file here with a subclass of :class:`DeepImagePrior`. It is written for single images with
the layers of ``torch.nn``; ``dipddpm.stacking`` gives every image of a batch its own weights.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Mapping
from functools import cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dipddpm.errors import InputError
from dipddpm.registry import choose, discover
from dipddpm.rng import ImageRng

MATCHED = "matched"
# pixels of a side up to which a CPU doubles an image faster by matrix products, whose work grows with the cube
PRODUCTS_TO = 32
SMALLEST = 4  # pixels of a side


class DeepImagePrior(nn.Module, ABC):
    """An untrained network f_theta whose structure is the prior (Ulyanov et al. 2018, arXiv 1711.10925).

    A subclass builds itself for ``size`` pixels (any from 4) with its published width and depth adapted to that size,
    and implements :meth:`layers`. It must not carry state from one call to the next. A size that cannot be halved has
    fewer scales.

    ``width`` is a number of channels, any from 1. An architecture that can only have multiples of a number (the groups
    of a GroupNorm, say) rounds up to one.

    Raises:
        InputError: fewer than 4 px, of which a norm has too few values and a reflection no pixel to show.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    lr: ClassVar[float] = 0.01
    """Learning rate of Adam that its authors publish."""
    input_noise: ClassVar[float] = 1 / 30
    """sigma_p, the standard deviation of the noise that is added to z at every iteration (1711.10925, supplementary
    material); 0 for an architecture that its authors fit without."""

    takes_images: ClassVar[bool] = True
    """Whether another z means something to it. The pixels of a coordinate network are told apart by z alone."""

    def __init__(self, size: int = 32, width: int | None = None):
        super().__init__()
        if size < SMALLEST:
            raise InputError(f"a Deep Image Prior of {size} px: choose images of {SMALLEST} px at least")
        self.size = size

    @abstractmethod
    def z_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the input z."""

    @abstractmethod
    def layers(self, z: Tensor) -> Tensor:
        """(N, *z_shape) -> (N, 3, size, size), unbounded."""

    def forward(self, z: Tensor) -> Tensor:
        """(N, *z_shape) -> (N, 3, size, size) in [-1, 1], the range that the diffusion works in."""
        # where the layers run in bfloat16, which has steps of 1/256 there, the image still has those of z
        return 2 * torch.sigmoid(self.layers(z).to(z.dtype)) - 1

    def draw_z(self, rng: ImageRng) -> Tensor:
        """z ~ U(0, 0.1), one per image (1711.10925, supplementary material).

        An architecture whose input is no noise overrides this: (N, *z_shape), on the device of ``rng``.
        """
        return 0.1 * rng.rand(*self.z_shape())


def halvings(size: int, least: int = 4) -> int:
    """How often ``size`` pixels halve into a whole number of at least ``least``: the scales of an hourglass, the
    doublings of a decoder."""
    return 1 + halvings(size // 2, least) if size % 2 == 0 and size >= 2 * least else 0


def mesh_grid(rng: ImageRng, size: int, start: float) -> Tensor:
    """(N, 2, size, size): the column of each pixel, then its row, from ``start`` at the first to 1 at the last; the
    same for every image."""
    along = torch.linspace(start, 1, size, device=rng.device)
    row, column = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([column, row]).repeat(len(rng), 1, 1, 1)


def upsample_bilinear(x: Tensor, size: int | None = None) -> Tensor:
    """(N, C, H, W) -> (N, C, size, size), or (N, C, 2 H, 2 W) where no size is given.

    It is ``F.interpolate(mode="bilinear", align_corners=False)``.

    On a CPU that converts to channels-last and back, forward and backward. On CUDA its threads share out the pixels of
    one channel and do all channels one after the other (11.3 of the 26.9 ms that an iteration of 256 skip nets took on
    an H100), and its gradient adds in no fixed order. Two matrix products, one a direction, are the same linear map: a
    quarter of the time at 16 px on a CPU.
    """
    n, c, h, w = x.shape
    to = (size or 2 * h, size or 2 * w)
    if (x.device.type == "cpu" and max(h, w) > PRODUCTS_TO) or x.device.type not in ("cpu", "cuda"):
        return F.interpolate(x, size=to, mode="bilinear", align_corners=False)
    rows = (x.reshape(-1, w) @ _stretching(w, to[1], x.dtype, x.device)).view(n, c, h, to[1])
    return torch.matmul(_stretching(h, to[0], x.dtype, x.device).T, rows)


@cache
def _stretching(pixels: int, to: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(pixels, to), by which a row of ``pixels`` is multiplied to have ``to``."""
    # outside of inference mode, whoever asks first: every later graph may hold on to it
    with torch.inference_mode(False), torch.no_grad():
        identity = torch.eye(pixels, dtype=torch.promote_types(dtype, torch.float32), device="cpu")
        stretching = F.interpolate(identity[None], size=to, mode="linear", align_corners=False)[0]
        return stretching.to(device, dtype)


def architectures() -> Mapping[str, type[DeepImagePrior]]:
    """Every architecture, by name."""
    return discover(sys.modules[__name__], DeepImagePrior)


def architecture_class(name: str) -> type[DeepImagePrior]:
    """The architecture of that name, or of ``name:32`` and ``name:matched`` (see :func:`width_for`): its class, since
    every fit builds networks of its own.

    Raises:
        InputError: there is none; the message lists all. What follows the colon is no width.
    """
    plain, colon, width = name.partition(":")
    kind = architectures()[choose("DIP architecture", plain, architectures())]
    if colon and width != MATCHED and not (width.isdecimal() and int(width) > 0):
        raise InputError(
            f"DIP architecture {name!r}: after the colon stands a number of channels from 1, as in {plain}:32, or "
            f"{plain}:{MATCHED}"
        )
    return kind


@cache
def width_for(name: str, size: int, reference: str) -> int | None:
    """The width to build an architecture with: None, its published one, for a plain name; the number in ``name:32``;
    for ``name:matched`` the one that gives it as many parameters as the architecture ``reference`` has (a name of the
    first two kinds), so that kind and size are told apart."""
    width = name.partition(":")[2]
    if width != MATCHED:
        return int(width) if width else None
    parameters = parameter_count(architecture_class(reference), size, width_for(reference, size, reference))
    return matched_width(architecture_class(name), size, parameters)


def parameter_count(architecture: type[DeepImagePrior], size: int, width: int | None = None) -> int:
    """Number of parameters of one network. Nothing is allocated or drawn."""
    with torch.device("meta"):
        return sum(p.numel() for p in architecture(size=size, width=width).parameters())


def matched_width(architecture: type[DeepImagePrior], size: int, parameters: int) -> int:
    """The width at which an architecture has the number of parameters nearest to ``parameters``.

    Architectures of different kinds compare fairly at equal capacity, not at equal width. An architecture that is
    small on purpose (``deep_decoder``) may be asked to be wider than its default ever is.

    Args:
        parameters: at least 1.

    Raises:
        InputError: ``parameters`` is below 1.
    """
    if parameters < 1:
        raise InputError(f"parameters must be a number from 1; got {parameters}")

    def count(width: int) -> int:
        return parameter_count(architecture, size, width)

    # more channels are more parameters, and a channel costs at least one: the answer lies in this range
    above = 1 + bisect_left(range(1, parameters + 1), parameters, key=count)
    return min(max(1, above - 1), above, key=lambda width: abs(count(width) - parameters))
