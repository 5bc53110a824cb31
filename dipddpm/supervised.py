"""Training on degraded photographs: a network that is shown y learns to say what the image was.

What ``train_warm_start`` and ``train_educated`` have in common; each brings its network, its loss and its file.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dipddpm.checkpoints import Course, going_on, read_state, state_file, write_checkpoint, write_state
from dipddpm.data import Dataset
from dipddpm.errors import InputError
from dipddpm.rng import ImageRng, image_keys, seed_for
from dipddpm.schedule import Schedule
from dipddpm.tasks import Observation, task, tasks
from dipddpm.train import CURVE_EVERY, KEPT_EVERY
from dipddpm.training import EMA, learning_rate
from dipddpm.training_loss import draw_batch

Network = TypeVar("Network", bound=nn.Module)
Loss = Callable[[Network, Sequence[Tensor], Sequence[Observation]], Tensor]
"""``loss(network, photographs, observations)``, a part for each task, to one value per image, (N,)."""
Finish = Callable[[Mapping[str, Tensor], Tensor], tuple[bytes, Mapping[str, object]]]
"""``finish(averaged weights, held-out images)``: what the file holds, and what the record says of how good it is."""


def honest_tasks() -> tuple[str, ...]:
    """Names of all degradations that leave something to restore: those that do not show the photograph itself."""
    return tuple(name for name, kind in tasks().items() if kind.leak == "none")


@dataclass(frozen=True)
class SupervisedSettings:
    """Besides the images and the network, all that decides the weights.

    Attributes:
        steps: updates. batch: images per update, shared out evenly among the ``tasks``.
        lr: peak learning rate of AdamW, after ``warmup`` updates; it falls along half a cosine to 2 % at ``steps``.
        ema_decay: of the averaged weights. clip: largest norm of the gradient.
        seed: of the initial weights, the order of the images, their masks and noise.
        tasks: the degradations that are learnt.
    """

    steps: int
    batch: int = 16
    lr: float = 3e-3
    warmup: int = 50
    ema_decay: float = 0.99
    clip: float = 1.0
    seed: int = 0
    tasks: tuple[str, ...] = ()


Settings = TypeVar("Settings", bound=SupervisedSettings)


def degraded(
    images: Tensor, settings: SupervisedSettings, update: int, device: torch.device
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


def train_supervised(
    dataset: Dataset,
    out: Path,
    training: SupervisedTraining,
    finish: Finish,
    *,
    held_out: int,
    save_every: int,
    provenance: Mapping[str, object] | None,
) -> dict:
    """Train on the ``train`` split and write ``out`` (averaged weights) with its record beside it.

    The state goes to ``out`` + ``.state`` every ``save_every`` updates and about once a minute; the same call goes on
    from there and ends with the same numbers as a run that was never stopped.

    Args:
        training: at its beginning.
        held_out: validation images, at most, that ``finish`` is given.

    Returns:
        the record: settings, loss curve, seconds, what ``finish`` says.

    Raises:
        InputError: a loss that became NaN (the last good state stays on disk), or a state that is damaged or of another
            run.
    """
    settings, device = training.settings, training.device
    images, held = dataset.images("train"), dataset.sample("validation", held_out, or_fewer=True)
    deciding = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()
    } | {
        "size": dataset.size,
        "images": len(images), "images_hash": f"{seed_for(*image_keys(images)):x}",
        "held_out": len(held), "held_out_hash": f"{seed_for(*image_keys(held)):x}",
        "parameters": sum(p.numel() for p in training.model.parameters()),
    }  # fmt: skip

    # Begin, or go on from the state.
    file, course, processor = state_file(out), Course(), 0.0
    if state := read_state(file, deciding):
        with going_on(file, settings.steps) as check:
            training.load(state)
            course = Course(**{column.name: state[column.name] for column in fields(Course)})
            processor = float(state["processor_seconds"])
            check(training.done)
    course, processor = _update_to_the_end(training, images, file, deciding, course, processor, save_every)

    data, found = finish(training.ema.shadow, held)
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
        **found,
    }
    write_checkpoint(out, data, record)
    return record


class SupervisedTraining(Generic[Network]):
    """A network in training: weights, their average, optimiser, and ``done``, the updates behind it."""

    def __init__(self, model: Network, loss: Loss[Network], settings: SupervisedSettings, device: torch.device):
        self.loss, self.settings, self.device, self.done = loss, settings, device, 0
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
        loss = self.loss(self.model, photographs, observations).mean()
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
    training: SupervisedTraining,
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
        dynamic_ncols=True, file=sys.stderr, disable=None,
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


def with_tasks(settings: Settings) -> Settings:
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
    return replace(settings, tasks=tuple(names))
