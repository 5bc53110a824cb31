"""Degradations: one file each, an operator A and the noise that follows it. y = A x_0 + n."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dipddpm.registry import choose, discover
from dipddpm.rng import ImageRng


class Operator(ABC):
    """A linear operator, fixed for a batch of images (a mask an image, say). All images are (N, 3, H, W)."""

    @abstractmethod
    def A(self, x: Tensor) -> Tensor:
        """The degradation, without noise."""

    @abstractmethod
    def A_adjoint(self, y: Tensor) -> Tensor:
        """The adjoint: <A x, y> = <x, A_adjoint y>."""

    @abstractmethod
    def A_pinv(self, y: Tensor) -> Tensor:
        """The pseudo-inverse: A A_pinv A = A."""

    @abstractmethod
    def to(self, device) -> Operator:
        """The same operator with its tensors on ``device``."""


@dataclass(frozen=True)
class Observation:
    """What a method may look at: y, the operator and the noise level, never the photograph."""

    y: Tensor
    operator: Operator
    sigma: float = 0.0

    @property
    def pinv(self) -> Tensor:
        """A^+ y, the free estimate."""
        return self.operator.A_pinv(self.y)

    def consistent(self, x_0: Tensor) -> Tensor:
        """The nearest image that agrees with a noiseless y: A^+ y + (I - A^+ A) x_0.

        Null-space projection of DDNM (Wang et al. 2212.00490, eq. 8), the same code in every arm.
        """
        A, A_pinv = self.operator.A, self.operator.A_pinv
        return self.pinv + x_0 - A_pinv(A(x_0))

    def to(self, device) -> Observation:
        """The same observation on ``device``."""
        return Observation(self.y.to(device), self.operator.to(device), self.sigma)


class Task(ABC):
    """A degradation. Everything random comes from the generators of the images: all arms see the same observation."""

    name: ClassVar[str]
    description: ClassVar[str]
    sigma: float = 0.0
    """Standard deviation of the noise on [-1, 1] images."""

    @abstractmethod
    def operator(self, rng: ImageRng, size: int) -> Operator:
        """The operator for ``len(rng)`` images of ``size`` pixels."""

    def observe(self, x_0: Tensor, rng: ImageRng) -> Observation:
        """y = A x_0 + sigma n for x_0 (N, 3, H, W) in [-1, 1], on the CPU."""
        operator = self.operator(rng, x_0.shape[-1])
        y = operator.A(x_0)
        if self.sigma:
            y = y + self.sigma * rng.randn(*y.shape[1:])
        return Observation(y, operator, self.sigma)


def tasks() -> Mapping[str, type[Task]]:
    """Every task, by name."""
    return discover(sys.modules[__name__], Task)


def task(name: str) -> Task:
    """The task of that name.

    Raises:
        InputError: there is none; the message lists all.
    """
    return tasks()[choose("task", name, tasks())]()
