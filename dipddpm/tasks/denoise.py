"""denoise: additive white Gaussian noise."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dipddpm.rng import ImageRng
from dipddpm.tasks import Consistency, Operator, Task


class Identity(Operator):
    """A = I."""

    def A(self, x: Tensor) -> Tensor:
        return x

    def A_adjoint(self, y: Tensor) -> Tensor:
        return y

    def A_pinv(self, y: Tensor) -> Tensor:
        return y


class Denoise25(Task):
    """Noise of standard deviation 25 of 255 (on [-1, 1] images, 50 / 255). y is not clipped."""

    name = "denoise_25"
    description = "white Gaussian noise, sigma 25 of 255"
    sigma = 2 * 25 / 255
    consistency: ClassVar[Consistency] = "proximal"

    def operator(self, rng: ImageRng, size: int) -> Identity:
        return Identity()


class Denoise15(Denoise25):
    """Noise of standard deviation 15 of 255."""

    name = "denoise_15"
    description = "white Gaussian noise, sigma 15 of 255"
    sigma = 2 * 15 / 255


class Denoise50(Denoise25):
    """Noise of standard deviation 50 of 255."""

    name = "denoise_50"
    description = "white Gaussian noise, sigma 50 of 255"
    sigma = 2 * 50 / 255
