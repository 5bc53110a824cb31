"""The stages that the time of a run goes into, each as work to be timed or profiled on random images.

The content of the images does not change these times, so that no data has to be loaded and nothing tuned first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.data import to_uint8
from dipddpm.denoisers import Denoiser
from dipddpm.dip import DeepImagePrior, architecture_class, architectures
from dipddpm.dip.skip import SkipNet
from dipddpm.errors import InputError
from dipddpm.experiments.axes import axis
from dipddpm.fitting import fit_dip
from dipddpm.metrics.psnr import Psnr
from dipddpm.metrics.ssim import Ssim
from dipddpm.registry import choose
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.tasks.inpaint import Inpaint
from dipddpm.tasks.super_resolution import SuperResolution
from dipddpm.training import Training, TrainingSettings
from dipddpm.unet import UNet


@dataclass(frozen=True)
class CostAxes:
    """What the suites that measure cost cover."""

    batch_sizes: tuple[int, ...] = axis("batch", "batch sizes of the throughput suite", (1, 16, 64), adds_cells=True)


@dataclass(frozen=True)
class Stage:
    """One execution of ``work()`` does ``items`` units (images, image iterations, ...). ``precision`` is that of its
    matrix products and convolutions; "" where it is not stated."""

    work: Callable[[], object]
    items: int
    unit: str = "images"
    precision: str = ""


def images(batch: int, size: int) -> Tensor:
    """Random images (batch, 3, size, size) in [-1, 1], the same each time."""
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def dip_fit(
    denoiser: Denoiser,
    device: torch.device,
    batch: int,
    architecture: type[DeepImagePrior] = SkipNet,
    iterations: int = 2,
) -> Stage:
    """A DIP of one architecture fitted to each of ``batch`` images, the networks built anew each time."""
    size = denoiser.size
    observation = Inpaint().observe(images(batch, size), ImageRng(range(batch))).to(device)

    def work() -> object:
        return fit_dip(architecture, observation, ImageRng(range(batch), device), iterations=[iterations], size=size)

    return Stage(work, batch * iterations, "image iterations")


def training_step(denoiser: Denoiser, device: torch.device, batch: int) -> Stage:
    """One update of a U-Net of the default width: draws, gradient, AdamW, the average of the weights."""
    pixels = to_uint8(images(max(64, batch), denoiser.size))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = UNet(denoiser.size)
    training = Training(model, denoiser.schedule, TrainingSettings(10**6, batch=batch), device=device)
    return Stage(lambda: training.update(pixels), batch)


def evaluation(denoiser: Denoiser, device: torch.device, batch: int) -> Stage:
    """One evaluation of the denoiser."""
    x_t = images(batch, denoiser.size).to(device)
    return Stage(lambda: denoiser.eps(x_t, 500), batch, precision=denoiser.precision)


def sampling(denoiser: Denoiser, device: torch.device, batch: int, steps: int = 5) -> Stage:
    """``steps`` steps of DDIM from noise, held to y at every step."""
    x_0 = images(batch, denoiser.size)
    observation = SuperResolution().observe(x_0, ImageRng(range(batch))).to(device)
    setting = Setting(steps, t0=denoiser.schedule.T - 1)

    def work() -> object:
        return restore(denoiser, observation, None, setting, ImageRng(range(batch), device))

    return Stage(work, batch, precision=denoiser.precision)


def scoring(denoiser: Denoiser, device: torch.device, batch: int) -> Stage:
    """The image metrics PSNR and SSIM."""
    x_0 = images(batch, denoiser.size).to(device)
    x_hat = x_0.flip(0)
    return Stage(lambda: [metric(x_hat, x_0) for metric in (Psnr(), Ssim())], batch)


def features(denoiser: Denoiser, device: torch.device, batch: int) -> Stage:
    """The features that population metrics compare, of the shipped extractor."""
    from dipddpm.extractors.embedded64 import Embedded64  # imported here: torch-fidelity takes seconds

    extractor, pixels = Embedded64().to(device), to_uint8(images(batch, denoiser.size))
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
        return dip_fit(denoiser, torch.device(device), batch, architecture_class(network))
    return STAGES[choose("stage", name, [*STAGES, "all"])](denoiser, torch.device(device), batch)
