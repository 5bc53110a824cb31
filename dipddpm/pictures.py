"""One picture of the user's own: read, degraded, fitted and restored in several ways.

``dipddpm fit`` and ``dipddpm restore`` print and draw what these functions return.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dipddpm.data import to_float
from dipddpm.data.folder import photograph
from dipddpm.denoisers import Denoiser
from dipddpm.dip import architecture_class, width_for
from dipddpm.documents import brief
from dipddpm.errors import InputError
from dipddpm.fitting import DipFit, fit_dip, fitting_method
from dipddpm.measure.instruments.timer import synchronised
from dipddpm.paths import shown
from dipddpm.priors import COMPARATOR, Evidence, Prior, prior
from dipddpm.restore import Setting, restore, score
from dipddpm.rng import ImageRng, image_keys
from dipddpm.stopping import StoppingRule
from dipddpm.tasks import Observation, Task
from dipddpm.tasks.inpaint import Mask

MULTIPLE = 8
"""Sides are whole multiples of it: the networks halve a picture up to three times."""
SMALLEST = 16
TRAVEL = 5
"""Passes over each step of the start from noise, where the evaluations can be shared out so."""


@dataclass(frozen=True)
class Picture:
    """A picture as the networks see it.

    Attributes:
        pixels: (1, 3, S, S) uint8.
        shape: width and height of the file.
        said: how it came about, in a sentence.
    """

    pixels: Tensor
    shape: tuple[int, int]
    said: str

    @property
    def size(self) -> int:
        """Pixels of a side."""
        return self.pixels.shape[-1]

    @property
    def x_0(self) -> Tensor:
        """(1, 3, S, S) in [-1, 1]."""
        return to_float(self.pixels)

    def rng(self, seed: int, purpose: str, device: str = "cpu") -> ImageRng:
        """The generator of this picture for a purpose, the same for every arm."""
        return ImageRng.for_images(image_keys(self.pixels), seed, purpose, device=device)


def read_picture(file: Path, size: int) -> Picture:
    """The central square of a picture, reduced to ``size`` pixels where it is larger.

    Raises:
        InputError: the file is no picture, or one that is too small.
    """
    image = photograph(file)
    square = min(image.size)
    side = min(size, square) // MULTIPLE * MULTIPLE
    if side < SMALLEST:
        raise InputError(f"{shown(file)}: {image.width} x {image.height} px at --size {size}: {SMALLEST} px are needed")
    pixels = np.array(ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS))
    said = f"{shown(file)}: {image.width} x {image.height} px; its central square of {square} px"
    said += f", reduced to {side} px (--size has the limit)" if side < square else ""
    return Picture(torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous(), image.size, said)


def read_mask(file: Path, picture: Picture) -> Tensor:
    """(1, 1, S, S), 1 where the picture is seen and 0 where the mask is white, cut and reduced as the picture was.

    Raises:
        InputError: it is no picture, of another size, or hides nothing or all.
    """
    image = photograph(file).convert("L")
    if image.size != picture.shape:
        theirs, ours = (f"{width} x {height}" for width, height in (image.size, picture.shape))
        raise InputError(f"mask {shown(file)}: {theirs} px, the picture has {ours}; draw it on a copy of the picture")
    fitted = ImageOps.fit(image, (picture.size, picture.size), Image.Resampling.BOX)
    # a pixel that is a mean of seen and missing ones is missing: its colour would be made of what nobody saw
    seen = torch.from_numpy(np.array(fitted) < 1 if picture.size < min(picture.shape) else np.array(fitted) < 128)
    if seen.all() or not seen.any():
        hidden = "hides all" if not seen.any() else "hides nothing"
        raise InputError(f"mask {shown(file)}: {hidden}; paint white what is missing, on black")
    return seen.float()[None, None]


class GivenMask(Task):
    """Pixels missing where the user says so.

    Args:
        mask: (1, 1, S, S), 1 where a pixel is seen.
    """

    name: ClassVar[str] = "inpaint"
    description: ClassVar[str] = "pixels missing where the mask is white, noiseless"

    def __init__(self, mask: Tensor):
        self.mask = mask

    def operator(self, rng: ImageRng, size: int) -> Mask:
        return Mask(self.mask)


class AtSize(Denoiser):
    """A denoiser on pictures of another size: its network is convolutional, and its weights know no size.

    On natural pictures of 64 to 256 px, one evaluation of the shipped network, which was trained at 32 px, predicts x_0
    as well as it does on tiles of 32 px (27.30 and 27.26 dB at step 150, 256 px), and without their seams.

    Args:
        watch: called once an evaluation.
    """

    name: ClassVar[str] = "at-size"

    def __init__(self, denoiser: Denoiser, size: int, watch: Callable[[], object] = lambda: None):
        self.denoiser, self.size, self.watch = denoiser, size, watch
        self.schedule, self.clip, self.injection = denoiser.schedule, denoiser.clip, denoiser.injection
        self.fingerprint = f"{denoiser.fingerprint}@{size}"

    def eps(self, x_t: Tensor, t: int) -> Tensor:
        self.watch()
        try:
            return self.denoiser.eps(x_t, t)
        except RuntimeError as error:
            raise InputError(
                f"the denoiser was made for {self.denoiser.size} px and does not take {self.size} px "
                f"({brief(error)}): choose --size {self.denoiser.size}"
            ) from error


def fit_picture(
    picture: Picture, observation: Observation, architecture: str, way: str, iterations: Sequence[int], seed: int,
    denoiser: Denoiser, watch: type[StoppingRule],
) -> DipFit:  # fmt: skip
    """A DIP fitted to one observation.

    Args:
        architecture: its name, with a width or not; way: the name of a fitting method.
        watch: is shown every iteration, for a progress bar.

    Raises:
        InputError: a name that names nothing, or a way that refuses such an observation.
    """
    method = fitting_method(way).with_denoiser(denoiser)
    network, width = architecture_class(architecture), width_for(architecture, picture.size, architecture)
    rng = picture.rng(seed, "dip", str(observation.y.device))
    return fit_dip(
        network, observation, rng, iterations=iterations, size=picture.size, width=width, method=method,
        rules=[watch], clock=synchronised,
    )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One way to restore a picture.

    Attributes:
        name: of the way.
        nfe: network evaluations, those of the prior included.
        seconds: in total, those of the prior included.
        x_hat: (1, 3, S, S) in [-1, 1].
    """

    name: str
    nfe: int
    seconds: float
    x_hat: Tensor

    def scores(self, x_0: Tensor | None) -> dict[str, float]:
        """{metric: value} against the picture; nothing where there is none to compare with."""
        if x_0 is None:
            return {}
        return {metric: values[0] for metric, values in score(self.x_hat.cpu(), x_0).items()}


def named_prior(name: str, observation: Observation) -> Prior:
    """The prior of an arm.

    Raises:
        InputError: there is none of that name; it does not apply here, or needs the truth or other pictures.
    """
    chosen = prior(name)
    if chosen.leak != "none" or chosen.pairs:
        why = "looks at the picture that it is to restore" if chosen.leak != "none" else "needs other pictures, too"
        raise InputError(f"arm {name!r} {why}: leave it out")
    if not chosen.applies(observation):
        raise InputError(f"arm {name!r} makes nothing of this task: leave it out")
    return chosen


def restore_picture(
    picture: Picture, observation: Observation, arm: Prior, fit: Callable[[int | None], tuple[Tensor, float]],
    denoiser: Denoiser, nfe: int, t0: int, seed: int,
) -> list[Row]:  # fmt: skip
    """What an arm makes of an observation: the prior alone, where it is an image, and the diffusion that starts there.

    Args:
        fit: (mu, seconds) of the DIP after some iterations, None for as many as the user asked for.
        nfe: evaluations of the diffusion.
        t0: step that an image enters at.
    """
    started = synchronised()
    dip, fitted = fit(arm.iterations) if arm.uses_dip else (None, 0.0)
    started = synchronised() if arm.uses_dip else started
    with torch.no_grad():
        mu = arm.mu(Evidence(observation, dip=dip, denoiser=denoiser).shown_to(arm))
    made, rows = fitted + synchronised() - started, []
    if mu is None:
        setting = Setting(nfe, eta=1.0, travel=TRAVEL if nfe % TRAVEL == 0 and nfe > TRAVEL else 1)
    else:
        rows.append(Row(f"{arm.name} alone", arm.evaluations, made, mu))
        setting = Setting(nfe, injection=arm.injection, t0=t0)
    rng = picture.rng(seed, "sample", str(observation.y.device))
    started = synchronised()
    x_hat, spent = restore(denoiser, observation, mu, setting, rng)
    name = f"from {arm.name}"
    return [*rows, Row(name, arm.evaluations + spent, made + synchronised() - started, x_hat)]


def evaluations(arms: Sequence[Prior], nfe: int) -> int:
    """Network evaluations that restoring with these arms takes."""
    return sum(arm.evaluations + nfe for arm in arms)


def is_noise(arm: Prior) -> bool:
    """Whether an arm starts from noise, so that it has no image to show by itself."""
    return arm.name == COMPARATOR
