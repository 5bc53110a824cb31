"""Injections: how a prior enters the diffusion. One file each; every hook's default is "do nothing"."""

from __future__ import annotations

import sys
from abc import ABC
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from dipddpm.registry import choose, discover
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule


class Injection(ABC):
    """A way in. The default of :meth:`start` is the DDPM's own: pure noise at the last step."""

    name: ClassVar[str]
    uses_mu: ClassVar[bool] = True

    def start(
        self, mu: Tensor | None, shape: tuple[int, int, int], schedule: Schedule, t0: int, rng: ImageRng
    ) -> tuple[Tensor, int]:
        """The state the reverse diffusion begins in.

        Args:
            mu: prior (N, 3, H, W) in [-1, 1], None where the injection uses none.
            shape: (3, H, W) of one image.
            t0: the step to enter at.

        Returns:
            x_t (N, 3, H, W) and its step t.
        """
        return rng.randn(*shape), schedule.T - 1

    def t0s(self, schedule: Schedule, sigma: float, grid: Sequence[int]) -> list[int]:
        """The steps that it can enter at, of a ``grid``; ``sigma`` is the noise of the observation."""
        return [schedule.T - 1]


def injections() -> Mapping[str, type[Injection]]:
    """Every injection, by name."""
    return discover(sys.modules[__name__], Injection)


def injection(name: str) -> Injection:
    """The injection of that name.

    Raises:
        InputError: there is none; the message lists all.
    """
    return injections()[choose("injection", name, injections())]()
