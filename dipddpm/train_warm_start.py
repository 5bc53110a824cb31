"""Training a warm start: images are degraded as a test image is, and the network learns to say what they were."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dipddpm.batches import in_batches
from dipddpm.checkpoints import Course, read_state, state_file, write_checkpoint, write_state
from dipddpm.data import Dataset, to_float
from dipddpm.errors import InputError
from dipddpm.metrics.psnr import Psnr
from dipddpm.prior_sets import observe
from dipddpm.rng import ImageRng, image_keys, seed_for
from dipddpm.schedule import Schedule
from dipddpm.tasks import Observation, task, tasks
from dipddpm.train import CURVE_EVERY, KEPT_EVERY
from dipddpm.training import EMA, learning_rate
from dipddpm.training_loss import draw_batch
from dipddpm.warm_start import Prediction, WarmStart, checkpoint, warm_start_loss


def honest_tasks() -> tuple[str, ...]:
    """Names of all degradations that leave something to restore: those that do not show the photograph itself."""
    return tuple(name for name, kind in tasks().items() if kind.leak == "none")


@dataclass(frozen=True)
class WarmStartSettings:
    """Besides the images, all that decides the weights.

    Attributes:
        steps: updates. batch: images per update, shared out evenly among the ``tasks``.
        lr: peak learning rate of AdamW, after ``warmup`` updates; it falls along half a cosine to 2 % at ``steps``.
        ema_decay: of the averaged weights. clip: largest norm of the gradient.
        seed: of the initial weights, the order of the images, their masks and noise.
        tasks: the degradations that are learnt.
        channels, blocks: of the network.
    """

    steps: int
    batch: int = 16
    lr: float = 3e-3
    warmup: int = 50
    ema_decay: float = 0.99
    clip: float = 1.0
    seed: int = 0
    tasks: tuple[str, ...] = ()
    channels: tuple[int, ...] = (48, 96)
    blocks: int = 1


def degraded(
    images: Tensor, settings: WarmStartSettings, update: int, device: torch.device
) -> tuple[list[Tensor], list[Observation]]:
    """The batch of one update, a part for each task: photographs (n, 3, H, W) in [-1, 1], and what is seen of them.

    It depends on (seed, update) alone. Images come in the order of a denoiser's training, mirrored as there; they take
    turns with the tasks.
    """
    x_0 = draw_batch(images, Schedule.linear(), settings.batch, settings.seed, update).x_0
    of_task = torch.arange(update * settings.batch, (update + 1) * settings.batch) % len(settings.tasks)
    photographs, observations = [], []
    for i, name in enumerate(settings.tasks):
        part = x_0[of_task == i]
        if len(part):
            rng = ImageRng(seed_for(settings.seed, "warm start", update, name, k) for k in range(len(part)))
            observations.append(task(name).observe(part, rng).to(device))
            photographs.append(part.to(device))
    return photographs, observations


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
    device, settings = torch.device(device), _with_tasks(settings)
    images, held = dataset.images("train"), dataset.sample("validation", held_out, or_fewer=True)
    config: dict[str, Any] = {"size": dataset.size, "channels": list(settings.channels), "blocks": settings.blocks}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        training = _Training(WarmStart(**config), settings, device)
    deciding = asdict(settings) | {
        "tasks": list(settings.tasks), "channels": list(settings.channels), "size": dataset.size,
        "images": len(images), "images_hash": f"{seed_for(*image_keys(images)):x}",
        "held_out": len(held), "held_out_hash": f"{seed_for(*image_keys(held)):x}",
        "parameters": sum(p.numel() for p in training.model.parameters()),
    }  # fmt: skip

    # Begin, or go on from the state.
    file, course, processor = state_file(out), Course(), 0.0
    if state := read_state(file, deciding):
        training.load(state)
        course = Course(**{column.name: state[column.name] for column in fields(Course)})
        processor = state["processor_seconds"]
    course, processor = _update_to_the_end(training, images, file, deciding, course, processor, save_every)

    # What is saved is in half precision, so that is what the calibration on record is measured on.
    averaged = WarmStart(**config).to(device)
    averaged.load_state_dict({name: p.half().float() for name, p in training.ema.shadow.items()})
    record = {
        **deciding,
        **(provenance or {}),
        "updates": settings.steps,
        "images_seen": settings.steps * settings.batch,
        "seconds": round(course.seconds, 1),
        "processor_seconds": round(processor, 1),
        "threads": torch.get_num_threads(),
        "training_seconds": round(_alone(course.seconds, processor, device), 1),
        "loss_curve": course.curve,
        "calibration": {name: calibration(averaged, held, name, device) for name in settings.tasks},
    }
    write_checkpoint(out, checkpoint(averaged.state_dict(), config), record)
    return record


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


class _Training:
    """A network in training: weights, their average, optimiser, and ``done``, the updates behind it."""

    def __init__(self, model: WarmStart, settings: WarmStartSettings, device: torch.device):
        self.settings, self.device, self.done = settings, device, 0
        self.model = model.to(device).to(memory_format=torch.channels_last).train()
        self.ema = EMA(self.model, settings.ema_decay)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=settings.lr, weight_decay=1e-4, fused=True)

    def update(self, images: Tensor) -> float:
        """One update on uint8 ``images``; the loss.

        Raises:
            InputError: loss or gradient are not finite; the weights are still those before this update.
        """
        settings = self.settings
        photographs, observations = degraded(images, settings, self.done, self.device)
        parts = zip(*self.model.predict(observations), strict=True)
        prediction, x_0 = Prediction(*map(torch.cat, parts)), torch.cat(photographs)
        loss = warm_start_loss(prediction, x_0).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        value, size = torch.stack([loss.detach(), norm]).tolist()
        if not (math.isfinite(value) and math.isfinite(size)):
            raise InputError(f"the loss became {value} at update {self.done}, its gradient {size}")
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.done, settings.steps, settings.lr, settings.warmup)
        self.optimizer.step()
        self.ema.update(self.model)
        self.done += 1
        return value

    def state(self) -> dict[str, Any]:
        """All that :meth:`load` needs to go on from here."""
        parts = {"model": self.model.state_dict(), "ema": self.ema.shadow, "optimizer": self.optimizer.state_dict()}
        return parts | {"done": self.done}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, average in self.ema.shadow.items():
            average.copy_(state["ema"][name])
        self.done = self.ema.updates = state["done"]


def _update_to_the_end(
    training: _Training,
    images: Tensor,
    file: Path,
    deciding: Mapping[str, object],
    course: Course,
    processor: float,
    save_every: int,
) -> tuple[Course, float]:
    """All updates that are left, with a progress bar; how they went, and the processor time of all of them."""
    steps, saved = training.settings.steps, f"{file}, of update {training.done}" if training.done else "none was saved"
    started, kept = time.perf_counter() - course.seconds, course.seconds
    worked = time.process_time() - processor
    bar = tqdm(
        range(training.done, steps), initial=training.done, total=steps, unit="update", mininterval=2,
        dynamic_ncols=True, file=sys.stderr,
    )  # fmt: skip
    for at in (step + 1 for step in bar):
        # One update.
        try:
            course.window.append(training.update(images))
        except InputError as error:
            bar.close()
            raise InputError(f"{error}; last good state: {saved}") from error
        course.seconds = time.perf_counter() - started

        # A point of the loss curve.
        if at % CURVE_EVERY == 0 or at == steps:
            bar.set_postfix(loss=f"{course.add_point(at):.4f}")

        # The state.
        if at % save_every == 0 or at == steps or course.seconds - kept >= KEPT_EVERY:
            spent = {"processor_seconds": time.process_time() - worked}
            write_state(file, training.state() | asdict(course) | spent, deciding)
            kept, saved = course.seconds, f"{file}, of update {at}"
    return course, time.process_time() - worked


def _alone(seconds: float, processor: float, device: torch.device) -> float:
    """Seconds that a training takes on a machine that does nothing else. On a CPU those are the seconds in which its
    threads worked, since a shared machine lets them wait: the training that ships waited for 3 of 5 seconds."""
    return min(seconds, processor / torch.get_num_threads()) if device.type == "cpu" else seconds


def _with_tasks(settings: WarmStartSettings) -> WarmStartSettings:
    """The settings with every task named.

    Raises:
        InputError: an unknown task, one that shows the photograph itself, or one that is named twice.
    """
    names: Sequence[str] = settings.tasks or honest_tasks()
    for name in names:
        if task(name).leak != "none":
            raise InputError(f"task {name!r} shows the photograph itself: there is nothing to learn")
    if len(set(names)) < len(names):
        raise InputError(f"tasks {', '.join(names)}: one is named twice")
    return WarmStartSettings(**{**asdict(settings), "tasks": tuple(names)})
