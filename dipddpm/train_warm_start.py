"""Training a warm start: images are degraded as a test image is, and the network learns to say what they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dipddpm.batches import in_batches
from dipddpm.data import Dataset, to_float
from dipddpm.metrics.psnr import Psnr
from dipddpm.prior_sets import observe
from dipddpm.schedule import Schedule
from dipddpm.supervised import SupervisedSettings, SupervisedTraining, train_supervised, with_tasks
from dipddpm.tasks import Observation
from dipddpm.warm_start import Prediction, WarmStart, checkpoint, warm_start_loss


@dataclass(frozen=True)
class WarmStartSettings(SupervisedSettings):
    """Besides the images, all that decides the weights.

    Attributes:
        channels, blocks: of the network.
    """

    channels: tuple[int, ...] = (48, 96)
    blocks: int = 1


def train_warm_start(
    dataset: Dataset,
    out: Path,
    settings: WarmStartSettings,
    *,
    device: torch.device | str = "cpu",
    held_out: int = 256,
    save_every: int = 500,
    provenance: Mapping[str, object] | None = None,
) -> dict:
    """Train a :class:`WarmStart` on the ``train`` split and write ``out`` (averaged weights) with its record beside it.

    The state goes to ``out`` + ``.state`` every ``save_every`` updates and about once a minute; the same call goes on
    from there and ends with the same numbers as a run that was never stopped.

    Args:
        settings: without ``tasks``, every task that does not show the photograph is learnt.
        held_out: validation images, at most, that the calibration of the record is measured on.

    Returns:
        the record: settings, loss curve, seconds, :func:`calibration`.

    Raises:
        InputError: an unknown task or one that shows the photograph, a loss that became NaN (the last good state stays
            on disk), or a state that is damaged or of another run.
    """
    device, settings = torch.device(device), with_tasks(settings)
    config: dict[str, Any] = {"size": dataset.size, "channels": list(settings.channels), "blocks": settings.blocks}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        training = SupervisedTraining(WarmStart(**config), _loss, settings, device)

    def finish(weights: Mapping[str, Tensor], held: Tensor) -> tuple[bytes, dict[str, object]]:
        # What is saved is in half precision, so that is what the calibration on record is measured on.
        averaged = WarmStart(**config).to(device)
        averaged.load_state_dict({name: p.half().float() for name, p in weights.items()})
        found = {name: calibration(averaged, held, name, device) for name in settings.tasks}
        return checkpoint(averaged.state_dict(), config), {"calibration": found}

    return train_supervised(
        dataset, out, training, finish, held_out=held_out, save_every=save_every, provenance=provenance
    )


def _loss(model: WarmStart, photographs: Sequence[Tensor], observations: Sequence[Observation]) -> Tensor:
    """:func:`warm_start_loss` of the batch, (N,)."""
    parts = zip(*model.predict(observations), strict=True)
    return warm_start_loss(Prediction(*map(torch.cat, parts)), torch.cat(list(photographs)))


@torch.inference_mode()
def calibration(
    model: WarmStart, images: Tensor, task_name: str, device: torch.device | str = "cpu", seed: int = 0
) -> dict[str, float]:
    """How good the mean is on uint8 images (N, 3, H, W), and whether the spread is as large as the error.

    Spread and error are those of the pixels that a noiseless y does not fix. Within 1 and 2 spreads lie 68 % and 95 %
    of Gaussian errors.

    Returns:
        psnr of the mean (dB); root mean square of spread and of error on [-1, 1]; shares of errors within 1 and 2
        spreads; t0: the step of the linear schedule of 1000 that is as noisy, relative to its signal, as the spread is.
    """
    model.eval()
    x_0, observation = to_float(images).to(device), observe(images, task_name, seed, device)

    def part(some: slice) -> Prediction:
        return model.predict([observation.part(some)])[0]

    predictions = in_batches(f"calibration ({images.shape[-1]} px, {x_0.device.type})", len(x_0), part, 64)
    mean, spread = (torch.cat(parts) for parts in zip(*predictions, strict=True))
    # A constant that is added to all pixels stays where y says nothing of a pixel, and goes where y fixes it. A random
    # image does so as well where y fixes means of pixels only.
    probe = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0)).to(device)
    free = (observation.refine(probe, snr=1.0) - observation.refine(torch.zeros_like(probe), snr=1.0)).abs() > 1e-3
    error, spread = (mean - x_0)[free].abs(), spread[free]
    rms = float(spread.square().mean().sqrt())
    return {
        "psnr": round(float(Psnr()(mean, x_0).mean()), 2),
        "spread": round(rms, 4),
        "error": round(float(error.square().mean().sqrt()), 4),
        "within_1": round(float((error <= spread).float().mean()), 3),
        "within_2": round(float((error <= 2 * spread).float().mean()), 3),
        "t0": Schedule.linear().matched_step(rms),
    }
