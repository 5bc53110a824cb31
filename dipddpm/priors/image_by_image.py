"""Algorithms of NumPy, run on one image after the other on the CPU; what they make returns to the device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dipddpm.errors import InputError
from dipddpm.tasks import Observation
from dipddpm.tasks.inpaint import Mask


def image_by_image(make: Callable[[np.ndarray], np.ndarray], x: Tensor) -> Tensor:
    """``make`` of every image of a batch.

    Args:
        make: from and to an image (H, W, 3), float64, in [0, 1] where ``x`` is in [-1, 1].
        x: (N, 3, H, W) on any device.

    Returns:
        (N, 3, H', W'), of the type and on the device of ``x``.
    """
    return _as_batch([make(image) for image in _as_arrays(x)], x)


def fill_holes(observation: Observation, make: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Tensor:
    """The missing pixels of every image, filled, in [-1, 1]; what was observed stays as it is.

    Args:
        observation: by a :class:`Mask`.
        make: the filled image (H, W, 3) from the observed one, float64 in [0, 1], and from where it was seen, (H, W)
            of bool. It is not called for an image without holes.

    Raises:
        InputError: an image of which nothing was seen.
    """
    y, operator = observation.y, observation.operator
    assert isinstance(operator, Mask)
    seen = (operator.mask[:, 0] > 0).expand(len(y), *y.shape[-2:]).cpu().numpy()
    for i, pixels in enumerate(seen):
        if not pixels.any():
            raise InputError(f"image {i} of the batch has no observed pixel to fill its holes from: leave it out")
    filled = [image if at.all() else make(image, at) for image, at in zip(_as_arrays(y), seen, strict=True)]
    return observation.consistent(_as_batch(filled, y).clamp(-1, 1))


def _as_arrays(x: Tensor) -> np.ndarray:
    return (x.detach().cpu().double().permute(0, 2, 3, 1).contiguous().numpy() + 1) / 2


def _as_batch(images: list[np.ndarray], like: Tensor) -> Tensor:
    return torch.from_numpy(np.stack(images) * 2 - 1).permute(0, 3, 1, 2).contiguous().to(like)
