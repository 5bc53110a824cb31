"""Training the weights that the fitting method ``educated`` begins with: one DIP network, on all degradations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dipddpm.batches import in_batches, joined
from dipddpm.data import Dataset, to_float
from dipddpm.fitting.educated import WIDTH, Pretrained, checkpoint
from dipddpm.metrics.psnr import Psnr
from dipddpm.prior_sets import observe
from dipddpm.supervised import SupervisedSettings, SupervisedTraining, train_supervised, with_tasks
from dipddpm.tasks import Observation
from dipddpm.warm_start import smooth_estimate


@dataclass(frozen=True)
class EducatedSettings(SupervisedSettings):
    """Besides the images, all that decides the weights.

    Attributes:
        width: of the network; that of the checkpoint that ships by default.
    """

    lr: float = 1e-2
    width: int = WIDTH


def train_educated(
    dataset: Dataset,
    out: Path,
    settings: EducatedSettings,
    *,
    device: torch.device | str = "cpu",
    held_out: int = 256,
    save_every: int = 500,
    provenance: Mapping[str, object] | None = None,
) -> dict:
    """Train a :class:`Pretrained` on the ``train`` split and write ``out`` (averaged weights) with its record.

    The state goes to ``out`` + ``.state`` every ``save_every`` updates and about once a minute; the same call goes on
    from there and ends with the same numbers as a run that was never stopped.

    Args:
        settings: without ``tasks``, every task that does not show the photograph is learnt.
        held_out: validation images, at most, that the PSNR of the record is measured on.

    Returns:
        the record: settings, loss curve, seconds, and ``psnr`` by task, dB before any fit.

    Raises:
        InputError: an unknown task or one that shows the photograph, a loss that became NaN (the last good state stays
            on disk), or a state that is damaged or of another run.
    """
    device, settings = torch.device(device), with_tasks(settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        training = SupervisedTraining(Pretrained(dataset.size, settings.width), squared_error, settings, device)

    def finish(weights: Mapping[str, Tensor], held: Tensor) -> tuple[bytes, dict[str, object]]:
        # What is saved is in half precision, so that is what is measured.
        averaged = Pretrained(dataset.size, settings.width).to(device)
        averaged.load_state_dict({name: p.half().float() for name, p in weights.items()})
        return checkpoint(weights), {"psnr": {name: psnr(averaged, held, name, device) for name in settings.tasks}}

    return train_supervised(
        dataset, out, training, finish, held_out=held_out, save_every=save_every, provenance=provenance
    )


def squared_error(model: Pretrained, photographs: Sequence[Tensor], observations: Sequence[Observation]) -> Tensor:
    """Mean squared error of f(P s) against x_0, (N,)."""
    restored = model(torch.cat([smooth_estimate(observation) for observation in observations]))
    return (restored - torch.cat(list(photographs))).square().flatten(1).mean(1)


@torch.inference_mode()
def psnr(model: Pretrained, images: Tensor, task_name: str, device: torch.device | str = "cpu", seed: int = 0) -> float:
    """Mean PSNR in dB of f(P s) on uint8 images (N, 3, H, W)."""
    x_0, shown = to_float(images).to(device), smooth_estimate(observe(images, task_name, seed, device))
    stage = f"educated DIP ({images.shape[-1]} px, {x_0.device.type})"
    restored = joined(in_batches(stage, len(shown), lambda some: model(shown[some]), 64))
    return round(float(Psnr()(restored, x_0).mean()), 2)
