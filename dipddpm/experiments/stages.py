"""The stages that the product's time goes into, each as work to be timed or profiled on random images.

What the images show decides no time, so that nothing has to be loaded or tuned first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.data import to_uint8
from dipddpm.denoisers import Denoiser
from dipddpm.dip import architectures
from dipddpm.errors import InputError
from dipddpm.fitting.plain import fit_dip
from dipddpm.metrics import metrics
from dipddpm.registry import choose
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.tasks import task
from dipddpm.training import Recipe, Training
from dipddpm.unet import UNet

TASKS = ("inpaint", "super_resolution")  # of a DIP fit, of sampling


@dataclass(frozen=True)
class Stage:
    """``work()`` does ``items`` of a unit (images, image iterations, ...) at each execution."""

    work: Callable[[], object]
    items: int
    unit: str = "images"


def sources() -> list[object]:
    """The code that decides what stages take: this module, and the variants that it finds at run time."""
    return [__name__, *metrics().values(), *(type(task(name)) for name in TASKS)]


def images(batch: int, size: int) -> Tensor:
    """Random images (batch, 3, size, size) in [-1, 1], the same each time."""
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def dip_fit(denoiser: Denoiser, device: torch.device, batch: int, network: str = "skip", iterations: int = 2) -> Stage:
    """A DIP of one architecture fitted to each of ``batch`` images, the networks built anew each time."""
    kind, size = architectures()[choose("DIP architecture", network, architectures())], denoiser.size
    observation = task(TASKS[0]).observe(images(batch, size), ImageRng(range(batch))).to(device)

    def work() -> object:
        return fit_dip(kind, observation, ImageRng(range(batch), device), iterations=[iterations], size=size)

    return Stage(work, batch * iterations, "image iterations")


def training_step(denoiser: Denoiser, device: torch.device, batch: int) -> Stage:
    """One update of a U-Net of the default width: draws, gradient, AdamW, the average of the weights."""
    pixels = to_uint8(images(max(64, batch), denoiser.size))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = UNet(denoiser.size)
    training = Training(model, denoiser.schedule, Recipe(10**6, batch=batch), device=device)
    return Stage(lambda: training.update(pixels), batch)


def evaluation(denoiser: Denoiser, device: torch.device, batch: int) -> Stage:
    """One evaluation of the denoiser."""
    x_t = images(batch, denoiser.size).to(device)
    return Stage(lambda: denoiser.eps(x_t, 500), batch)


def sampling(denoiser: Denoiser, device: torch.device, batch: int, steps: int = 5) -> Stage:
    """``steps`` steps of DDIM from noise, held to y at every step."""
    x_0 = images(batch, denoiser.size)
    observation = task(TASKS[1]).observe(x_0, ImageRng(range(batch))).to(device)
    setting = Setting(steps, "none", 999)
    return Stage(lambda: restore(denoiser, observation, None, setting, ImageRng(range(batch), device)), batch)


def scoring(denoiser: Denoiser, device: torch.device, batch: int) -> Stage:
    """Every image metric: PSNR and SSIM."""
    x_0 = images(batch, denoiser.size).to(device)
    x_hat = x_0.flip(0)
    every = [metric() for metric in metrics().values()]
    return Stage(lambda: [metric(x_hat, x_0) for metric in every], batch)


def features(denoiser: Denoiser, device: torch.device, batch: int) -> Stage:
    """What population metrics see images with: the shipped extractor."""
    from dipddpm.extractors import open_extractor  # here: torch-fidelity takes seconds to import

    extractor, pixels = open_extractor("embedded64", device), to_uint8(images(batch, denoiser.size))
    return Stage(lambda: extractor.features(pixels), batch)


STAGES: Mapping[str, Callable[[Denoiser, torch.device, int], Stage]] = {
    "dip-fit": dip_fit,
    "training-step": training_step,
    "evaluation": evaluation,
    "sampling": sampling,
    "metrics": scoring,
    "features": features,
}


def stage_names() -> list[str]:
    """Every stage, the DIP fit once for each architecture."""
    fits = [f"dip-fit:{name}" for name in architectures()]
    return [*fits, *(name for name in STAGES if name != "dip-fit")]


def stage(name: str, denoiser: Denoiser, device: torch.device | str, batch: int) -> Stage:
    """The stage of that name; ``dip-fit:ARCHITECTURE`` for another architecture than ``skip``.

    Raises:
        InputError: there is none; the message lists all. A batch below 1.
    """
    if batch < 1:
        raise InputError(f"a batch has at least one image; got {batch}")
    kind, colon, network = name.partition(":")
    if colon and kind == "dip-fit":
        return dip_fit(denoiser, torch.device(device), batch, network)
    return STAGES[choose("stage", name, [*STAGES, "all"])](denoiser, torch.device(device), batch)
