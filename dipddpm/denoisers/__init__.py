"""Denoisers: what predicts the noise. One file a kind; ``open_denoiser`` turns what the user typed into one."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from dipddpm.device import chosen_precision, default_precision
from dipddpm.errors import InputError
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
    takes_precision: ClassVar[bool] = False
    """Its constructor also takes ``precision``, the name of one or "" for the default of the device, and ``compiled``,
    whether the network runs through torch.compile; the fingerprint tells both (:func:`known_by`)."""
    precision: str = ""
    """Of the products in the network; "" where the denoiser has no say in it."""
    compiled: bool = False

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


def known_by(weights: str, precision: str, compiled: bool) -> str:
    """The fingerprint of a network that is run in one way: that of its weights, and what else rounds its output.

    A network in float32 that is not compiled is known by its weights alone.
    """
    return "+".join([weights, *([precision] if precision != "fp32" else []), *(["compiled"] if compiled else [])])


def open_denoiser(
    spec: str, device: torch.device | str = "cpu", precision: str = "", compiled: bool = False
) -> Denoiser:
    """The denoiser for ``unet`` (the shipped checkpoint), ``unet:early`` and ``unet:middle`` (weaker states of its
    training), ``unet:FILE.safetensors``, ``diffusers:FOLDER_OR_HUB_NAME`` or what a plug-in adds.

    Args:
        precision: of the products in the network: ``fp32``, ``tf32`` or ``bf16``. The default is ``tf32`` on CUDA and
            ``fp32`` elsewhere.
        compiled: the network runs through torch.compile, which takes a minute at the first evaluation.

    Raises:
        InputError: unknown kind, or a file that is missing or of other shapes; an unknown precision, or one that the
            device or the kind does not have.
    """
    name, _, location = spec.partition(":")
    kind = denoisers()[choose("denoiser", name, denoisers())]
    asked = chosen_precision(precision, device)
    if kind.takes_precision:
        return kind(location or None, device, precision=asked, compiled=compiled)  # type: ignore[call-arg]
    if compiled or asked != default_precision(device):
        refused = "cannot be compiled" if compiled else f"cannot run in {asked}"
        raise InputError(f"the denoiser {name} {refused}: its class says nothing of precision (takes_precision)")
    return kind(location or None, device)
