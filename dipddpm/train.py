"""Training on files: a loop with its progress, that resumes to the same numbers after a kill."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, fields
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dipddpm.batches import ChargedClock
from dipddpm.checkpoints import Course, Save, TrainingFiles, going_on, read_state, save_checkpoint, state_file
from dipddpm.distributed import ALONE, Processes
from dipddpm.errors import InputError
from dipddpm.injection import Injection
from dipddpm.prior_sets import PriorSet
from dipddpm.rng import image_keys, seed_for
from dipddpm.schedule import Schedule
from dipddpm.training import Diverged, Training, TrainingSettings
from dipddpm.training_loss import PLAIN, held_out_loss
from dipddpm.unet import UNet

KEPT_EVERY = 60.0  # seconds after which the state is written at the latest: what a kill may cost
CURVE_EVERY = 100  # updates whose mean loss is a point of the curve


def train(
    images: Tensor,
    held_out: Tensor,
    out: Path,
    *,
    model: UNet,
    schedule: Schedule,
    settings: TrainingSettings,
    injection: Injection = PLAIN,
    priors: PriorSet | None = None,
    held_out_priors: PriorSet | None = None,
    initialise: Callable[[UNet], object] | None = None,
    initialised: Mapping[str, object] | None = None,
    device: torch.device | str = "cpu",
    processes: Processes = ALONE,
    save_every: int = 500,
    keep_at: tuple[int, ...] = (),
    provenance: Mapping[str, object] | None = None,
    save: Save = save_checkpoint,
    clock: Callable[[], float] = time.perf_counter,
    follow: Callable[[int, float], object] | None = None,
) -> dict:
    """Train ``model`` on uint8 ``images`` and write ``out`` (averaged weights) with a record of what made it.

    The complete state goes to ``out`` + ``.state`` every ``save_every`` updates, about once a minute, and on Ctrl-C;
    the same call goes on from there and ends with the same numbers as a run that was never stopped.

    Args:
        images: (N, 3, H, W) uint8, the training split.
        held_out: (M, 3, H, W) uint8, never trained on.
        injection: how a prior enters; one that the network sees needs ``priors`` and ``held_out_priors``, made alike.
        initialise: changes the new network before its training begins; a run that goes on has no use for it.
        initialised: what it does that with, as JSON can hold it: a run with another one is another run.
        processes: those that train together, each calling this with the same arguments; the first one writes.
        keep_at: updates after which a checkpoint ``<stem>-<update>`` is kept besides the last one.
        save: ``save(path, weights, record)`` writes a checkpoint.
        clock: seconds.
        follow: is told every point of the loss curve, update and loss; its seconds are not charged to the training.

    Returns:
        the record: settings, loss curve, held-out loss at five noise levels, seconds.

    Raises:
        InputError: the loss became NaN (the last good state stays on disk), the state on disk is damaged or of another
            run, or the priors are missing or of other images.
    """
    device, clock = torch.device(device), ChargedClock(clock)

    # What is trained on, and the settings that decide every number: a state of other settings is refused.
    mu, held_out_mu = (_mu(injection, made, of) for made, of in ((priors, images), (held_out_priors, held_out)))
    used = priors if mu is not None else None
    deciding = _deciding(settings, schedule, model, images, held_out, injection, used, initialised)
    state = read_state(state_file(out), deciding)

    # Initial weights are fitted once. Their time is that of a prior, as is that of the priors the network is shown.
    course = Course(prior_seconds=used.seconds if used else 0.0)
    if initialise and not state and processes.first:
        began = clock()
        initialise(model.to(device))
        course.prior_seconds = clock() - began

    # Begin, or go on from the state.
    training = Training(model, schedule, settings, injection, device, processes)
    saved = "none was saved yet"
    if state:
        with going_on(state_file(out), settings.steps) as check:
            training.load(state["tensors"])
            course = Course(**{column.name: state[column.name] for column in fields(Course)})
            check(training.done)
        saved = f"{state_file(out)}, of update {training.done}"
    processes.share_weights(training.model)

    def score(averaged: nn.Module) -> dict:
        return held_out_loss(averaged, schedule, held_out, training.device, 0, injection, held_out_mu)

    files = TrainingFiles(out, training, course, deciding, provenance or {}, score, save, saved)
    _update_to_the_end(files, images, mu, clock, save_every, keep_at, follow if processes.first else None)
    return files.keep_checkpoint(out) if processes.first else deciding


def _update_to_the_end(
    files: TrainingFiles,
    images: Tensor,
    mu: Tensor | None,
    clock: Callable[[], float],
    save_every: int,
    keep_at: Collection[int],
    follow: Callable[[int, float], object] | None,
) -> None:
    """All updates that are left, with a progress bar; state and checkpoints are written as they fall due."""
    training, course, first = files.training, files.course, files.training.processes.first
    steps, batch = training.settings.steps, training.settings.batch
    started, kept = clock() - course.seconds, course.seconds
    bar = tqdm(
        range(training.done, steps), initial=training.done, total=steps, unit="update", mininterval=2,
        dynamic_ncols=True, file=sys.stderr, disable=None if first else True,
    )  # fmt: skip
    try:
        for at in (step + 1 for step in bar):
            # One update.
            course.window.append(training.update(images, mu))
            course.seconds = clock() - started

            # A point of the loss curve.
            if at % CURVE_EVERY == 0 or at == steps:
                loss = course.add_point(at)
                bar.set_postfix(loss=f"{loss:.4f}", images_s=f"{at * batch / course.seconds:.0f}")
                if follow:
                    began = clock()
                    follow(at, loss)
                    started += clock() - began

            # A checkpoint. It comes before the state: a run that goes on from there does not come by this update again.
            if at in keep_at and first:
                files.keep_checkpoint(files.out.with_stem(f"{files.out.stem}-{at}"))

            # The state.
            if at % save_every == 0 or at == steps or course.seconds - kept >= KEPT_EVERY:
                files.keep_state()
                kept = course.seconds
    except Diverged as error:
        bar.close()
        raise InputError(f"{error}; last good state: {files.saved}") from error
    except KeyboardInterrupt:
        bar.close()
        # Amid an update, or where a checkpoint may be owed, the state saved last is the one to go on from.
        if training.whole and training.done not in keep_at:
            files.keep_state()
        raise


def _deciding(
    settings: TrainingSettings,
    schedule: Schedule,
    model: UNet,
    images: Tensor,
    held_out: Tensor,
    injection: Injection,
    priors: PriorSet | None,
    initialised: Mapping[str, object] | None,
) -> dict:
    """Everything that decides the numbers of a training, as JSON can hold it."""
    return asdict(settings) | {
        "T": schedule.T,
        "model": model.config,
        "images": len(images),
        "images_hash": f"{seed_for(*image_keys(images)):x}",
        "held_out": len(held_out),
        "held_out_hash": f"{seed_for(*image_keys(held_out)):x}",
        "injection": injection.name,
        "priors": priors.record() if priors else None,
        "initialised": dict(initialised) if initialised else None,
    }


def _mu(injection: Injection, priors: PriorSet | None, images: Tensor) -> Tensor | None:
    """The priors that the network is shown, once it is sure that they belong to the images."""
    if not injection.sees_mu:
        return None
    if priors is None:
        raise InputError(f"injection {injection.name!r} shows the network a prior: name one (--prior)")
    priors.check(images)
    return priors.mu
