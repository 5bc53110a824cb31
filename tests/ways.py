"""The ways of fitting as the tests run over them: each with a denoiser, and with networks that it accepts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from dipddpm.denoisers import Denoiser
from dipddpm.dip import DeepImagePrior
from dipddpm.dip.deep_decoder import DeepDecoder
from dipddpm.dip.skip import SkipNet
from dipddpm.fitting import FittingMethod, fitting_method, fitting_methods
from dipddpm.schedule import Schedule
from dipddpm.tasks import Observation
from dipddpm.tasks.denoise import Identity

Network = tuple[type[DeepImagePrior], int | None, int]
SMALL: list[Network] = [(DeepDecoder, None, 8), (SkipNet, 4, 8)]
"""Architecture, width and size in pixels."""
ELSE: list[Network] = [(SkipNet, 32, 32)]


class Shrink(Denoiser):
    """The optimal denoiser of x_0 ~ N(0, 1), pixel by pixel: E[x_0 | x_t] = sqrt(abar) x_t."""

    name, fingerprint, clip = "shrink", "shrink", 0.0
    schedule = Schedule.linear()

    def __init__(self, size: int = 8):
        self.size = size

    def eps(self, x_t: Tensor, t: int) -> Tensor:
        return (1 - self.schedule.abar(t)) ** 0.5 * x_t


def made(way: str, size: int = 8) -> FittingMethod:
    """The way, with a denoiser if it makes use of one."""
    return fitting_method(way).with_denoiser(Shrink(size))


def refused(way: str, kind: type[DeepImagePrior], width: int | None, size: int) -> str:
    """Why a way does not fit such a network to a noisy image."""
    return made(way, size).refuses(kind, Observation(torch.zeros(1, 3, size, size), Identity(), 0.1), width)


def ways_and_networks() -> Iterator[Any]:
    """Every way with each small network, or where it refuses those with one that it accepts: (way, kind, width, size);
    what is refused is skipped, and the reason is why."""
    for way in fitting_methods():
        reasons = [refused(way, *network) for network in SMALL]
        for network, why in zip(SMALL, reasons, strict=True):
            marks = [pytest.mark.skip(reason=f"{way} {why}")] if why else []
            yield pytest.param(way, *network, marks=marks, id=f"{way}-{network[0].name}")
        if all(reasons):
            yield from (pytest.param(way, *n, id=f"{way}-{n[0].name}-{n[1]}") for n in ELSE if not refused(way, *n))


def first_network(way: str) -> Network:
    """The first that it accepts."""
    return next(network for network in [*SMALL, *ELSE] if not refused(way, *network))
