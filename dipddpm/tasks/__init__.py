"""Degradations: one file each, an operator A and the noise that follows it. y = A x_0 + n."""

from __future__ import annotations

import copy
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from dipddpm.registry import Comparable, choose, discover
from dipddpm.rng import ImageRng

Consistency = Literal["projection", "proximal", "none"]


class Operator(ABC):
    """A linear operator, fixed for a batch of images (a mask per image, say). All images are (N, 3, H, W).

    A tensor that an operator holds as an attribute is (N, ...), a part for each image, or (1, ...), the same for all.
    """

    @abstractmethod
    def A(self, x: Tensor) -> Tensor:
        """The degradation, without noise."""

    @abstractmethod
    def A_adjoint(self, y: Tensor) -> Tensor:
        """The adjoint: <A x, y> = <x, A_adjoint y>."""

    @abstractmethod
    def A_pinv(self, y: Tensor) -> Tensor:
        """The pseudo-inverse: A A_pinv A = A."""

    def each_tensor(self, change: Callable[[Tensor], Tensor]) -> Operator:
        """The same operator with every tensor that it holds changed."""
        twin = copy.copy(self)
        vars(twin).update({name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)})
        return twin


@dataclass(frozen=True)
class Observation:
    """What a method may look at: y, the operator, the noise level; never the photograph.

    Attributes:
        sigma: standard deviation of the noise in y.
        consistency: how a predicted x_0 is held to y; see :meth:`refine`.
    """

    y: Tensor
    operator: Operator
    sigma: float = 0.0
    consistency: Consistency = "projection"

    @property
    def pinv(self) -> Tensor:
        """A^+ y, the free estimate."""
        return self.operator.A_pinv(self.y)

    def weight(self) -> Tensor:
        """A^+ A 1: how much of each pixel was observed, (N, 3, H, W)."""
        return self.operator.A_pinv(self.operator.A(torch.ones_like(self.pinv)))

    def refine(self, x_0: Tensor, snr: float, strength: float = 1.0) -> Tensor:
        """A predicted x_0, held to y: the same code in every arm.

        projection: the nearest image that agrees with a noiseless y, A^+ y + (I - A^+ A) x_0 (DDNM, Wang et al.
        2212.00490, eq. 8). proximal: y is noisy and A the identity, so that a projection would pin x_0 to the noise;
        (y + rho x_0) / (1 + rho) with rho = strength sigma^2 snr (DiffPIR, Zhu et al. 2305.08995, eq. 13). none: as is.

        Args:
            snr: alpha_bar_t / (1 - alpha_bar_t) of the step that x_0 was predicted at.
            strength: lambda of the proximal step.
        """
        if self.consistency == "projection":
            A, A_pinv = self.operator.A, self.operator.A_pinv
            return self.pinv + x_0 - A_pinv(A(x_0))
        if self.consistency == "proximal":
            rho = strength * self.sigma**2 * snr
            return (self.y + rho * x_0) / (1 + rho)
        return x_0

    def consistent(self, x_0: Tensor) -> Tensor:
        """``x_0`` projected on a noiseless y; as it is where y is noisy or the task does not hold it to y."""
        return self.refine(x_0, snr=1.0) if self.consistency == "projection" else x_0

    def to(self, device: torch.device | str) -> Observation:
        """The same observation on ``device``."""
        return replace(self, y=self.y.to(device), operator=self.operator.each_tensor(lambda part: part.to(device)))

    def repeat(self, times: int) -> Observation:
        """The whole batch ``times`` times over, (times N, ...)."""

        def repeated(part: Tensor) -> Tensor:
            return part if len(part) == 1 else part.repeat(times, *[1] * (part.ndim - 1))

        y = self.y.repeat(times, *[1] * (self.y.ndim - 1))
        return replace(self, y=y, operator=self.operator.each_tensor(repeated))

    def part(self, images: slice | Tensor) -> Observation:
        """Some images of the batch, by their numbers."""

        def cut(part: Tensor) -> Tensor:
            return part if len(part) == 1 else part[images]

        return replace(self, y=self.y[images], operator=self.operator.each_tensor(cut))


class Task(Comparable, ABC):
    """A degradation. Everything random comes from the generators of the images: all arms see the same observation."""

    name: ClassVar[str]
    description: ClassVar[str]
    sigma: ClassVar[float] = 0.0
    """Standard deviation of the noise on [-1, 1] images."""
    consistency: ClassVar[Consistency] = "projection"
    leak: ClassVar[str] = "none"
    """``clean-target`` where y is the photograph itself: such a task never enters a headline."""

    @abstractmethod
    def operator(self, rng: ImageRng, size: int) -> Operator:
        """The operator for ``len(rng)`` images of ``size`` pixels."""

    def observe(self, x_0: Tensor, rng: ImageRng) -> Observation:
        """y = A x_0 + sigma n for x_0 (N, 3, H, W) in [-1, 1], on the CPU."""
        operator = self.operator(rng, x_0.shape[-1])
        y = operator.A(x_0)
        if self.sigma:
            y = y + self.sigma * rng.randn(*y.shape[1:])
        return Observation(y, operator, self.sigma, self.consistency)


def tasks() -> Mapping[str, type[Task]]:
    """Every task, by name."""
    return discover(sys.modules[__name__], Task)


def task(name: str) -> Task:
    """The task of that name.

    Raises:
        InputError: there is none; the message lists all.
    """
    return tasks()[choose("task", name, tasks())]()
