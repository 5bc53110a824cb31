"""Denoisers: what predicts the noise. One file a kind; ``open_denoiser`` turns what the user typed into one."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from dipddpm.injection import Injection
from dipddpm.injection.none import NoInjection
from dipddpm.registry import choose, discover
from dipddpm.schedule import Schedule


class Denoiser(ABC):
    """A trained noise predictor with the schedule it was trained on.

    Args:
        location: what follows the colon in ``kind:location``; None asks for the default.
        device: where it runs.
    """

    name: ClassVar[str]
    schedule: Schedule
    size: int
    clip: float = 1.0
    """Largest value that samplers leave in the predicted x_0; 0 for a network that is sampled without clipping."""
    fingerprint: str
    """Hash of the weights and of all that decides the output: part of every cache key."""
    injection: Injection = NoInjection()
    """How a prior entered its training."""

    @abstractmethod
    def __init__(self, location: str | None, device: torch.device | str): ...

    @abstractmethod
    def eps(self, x_t: Tensor, t: int) -> Tensor:
        """The predicted noise, (N, 3, H, W), of a batch that stands at one step ``t``. One call is one NFE per image.

        ``x_t`` is what the network is shown: (N, 3, H, W), or what ``condition`` of its injection makes of it.
        """


def denoisers() -> Mapping[str, type[Denoiser]]:
    """Every kind of denoiser, by name."""
    return discover(sys.modules[__name__], Denoiser)


def open_denoiser(spec: str, device: torch.device | str = "cpu") -> Denoiser:
    """The denoiser for ``unet`` (the shipped checkpoint), ``unet:early`` and ``unet:middle`` (weaker states of its
    training), ``unet:FILE.safetensors``, ``diffusers:FOLDER_OR_HUB_NAME`` or what a plug-in adds.

    Raises:
        InputError: unknown kind, or a file that is missing or of other shapes.
    """
    name, _, location = spec.partition(":")
    return denoisers()[choose("denoiser", name, denoisers())](location or None, device)
