"""Training on files: a loop with its progress, that resumes to the same numbers after a kill."""

from __future__ import annotations

import json
import pickle
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dipddpm.batches import ChargedClock, in_batches
from dipddpm.data import to_float
from dipddpm.distributed import ALONE, Processes
from dipddpm.errors import InputError
from dipddpm.injection import Injection
from dipddpm.prior_sets import PriorSet
from dipddpm.rng import image_keys, seed_for
from dipddpm.schedule import Schedule
from dipddpm.training import PLAIN, Batch, Diverged, Recipe, Training, ddpm_loss
from dipddpm.unet import UNet

HELD_OUT_T = (50, 150, 300, 500, 800)  # signal-to-noise from 34 to 0.0015: from retouching to guessing
KEPT_EVERY = 60.0  # seconds after which the state is written at the latest: what a kill may cost


@torch.inference_mode()
def held_out_loss(
    model: nn.Module,
    schedule: Schedule,
    images: Tensor,
    device: torch.device,
    seed: int = 0,
    way: Injection = PLAIN,
    mu: Tensor | None = None,
) -> dict:
    """Loss at each of five steps over held-out uint8 images, the same noise at every call: {t: mean squared error}.

    A schedule too short for some of the steps goes without them.
    """
    model.eval()
    losses, stage = {}, f"held-out loss ({images.shape[-1]} px, {device.type})"

    def loss(batch: Batch, some: slice) -> Tensor:
        x_0, t, eps, mu = batch.part(some)
        return ddpm_loss(model, schedule, x_0, t, eps, way, mu)

    for t in (t for t in HELD_OUT_T if t < schedule.T):
        rng = torch.Generator().manual_seed(seed_for(seed, "held out", t))
        values = []
        for start in range(0, len(images), 128):
            x_0 = to_float(images[start : start + 128])
            eps = torch.randn(x_0.shape, generator=rng)
            steps = torch.full((len(x_0),), t, device=device)
            priors = None if mu is None else mu[start : start + 128].to(device)
            batch = Batch(x_0.to(device), steps, eps.to(device), priors)
            values += in_batches(stage, len(x_0), partial(loss, batch))
        losses[t] = float(torch.cat(values).mean())
    model.train()
    return losses


def train(
    images: Tensor,
    held_out: Tensor,
    out: Path,
    *,
    model: UNet,
    schedule: Schedule,
    recipe: Recipe,
    way: Injection = PLAIN,
    priors: PriorSet | None = None,
    held_out_priors: PriorSet | None = None,
    initialise: Callable[[UNet], object] | None = None,
    initialised: Mapping[str, object] | None = None,
    device: torch.device | str = "cpu",
    processes: Processes = ALONE,
    save_every: int = 500,
    keep_at: tuple[int, ...] = (),
    provenance: Mapping[str, object] | None = None,
    save: Callable[[Path, Mapping[str, Tensor], dict], None],
    clock: Callable[[], float] = time.perf_counter,
) -> dict:
    """Train ``model`` on uint8 ``images`` and write ``out`` (averaged weights) with a record of what made it.

    The complete state goes to ``out`` + ``.state`` every ``save_every`` updates, about once a minute, and on Ctrl-C;
    the same call goes on from there and ends with the same numbers as a run that was never stopped.

    Args:
        images: (N, 3, H, W) uint8, the training split.
        held_out: (M, 3, H, W) uint8, never trained on.
        way: how a prior enters; one that the network sees needs ``priors`` and ``held_out_priors``, made alike.
        initialise: changes the new network before its training begins; a run that goes on has no use for it.
        initialised: what it does that with, as JSON can hold it: a run with another one is another run.
        processes: those that train together, each calling this with the same arguments; the first one writes.
        keep_at: updates after which a checkpoint ``<stem>-<update>`` is kept besides the last one.
        save: ``save(path, weights, record)``, how a checkpoint is written (``dipddpm.denoisers.unet``).
        clock: seconds.

    Returns:
        the record: settings, loss curve, held-out loss at five noise levels, seconds.

    Raises:
        InputError: the loss became NaN (the last good state stays on disk), the state on disk is damaged or of another
            run, or the priors are missing or of other images.
    """
    device = torch.device(device)
    mu, held_out_mu = (_mu(way, made, of) for made, of in ((priors, images), (held_out_priors, held_out)))
    settings = asdict(recipe) | {
        "T": schedule.T,
        "model": model.config,
        "images": len(images),
        "images_hash": f"{seed_for(*image_keys(images)):x}",
        "held_out": len(held_out),
        "held_out_hash": f"{seed_for(*image_keys(held_out)):x}",
        "injection": way.name,
        "priors": priors.record() if priors and mu is not None else None,
        "initialised": dict(initialised) if initialised else None,
    }
    state_file, clock = out.with_suffix(out.suffix + ".state"), ChargedClock(clock)
    state = read_state(state_file, settings)
    prior_seconds = priors.seconds if priors and mu is not None else 0.0
    if initialise and not state and processes.first:
        began = clock()
        initialise(model.to(device))
        prior_seconds = clock() - began
    training = Training(model, schedule, recipe, way, device, processes)
    curve, window, seconds, saved = [], [], 0.0, "none was saved yet"
    if state:
        training.load(state["tensors"])
        curve, window, seconds, prior_seconds = (state[k] for k in ("curve", "window", "seconds", "prior_seconds"))
        saved = f"{state_file}, of update {training.done}"
    processes.share_weights(training.model)
    steps, batch, done = recipe.steps, recipe.batch, training.done

    def record(at: int) -> dict:
        averaged = UNet(**model.config).to(device)
        averaged.load_state_dict(training.ema.shadow)
        return {
            **settings,
            **(provenance or {}),
            "processes": processes.count,
            "updates": at,
            "images_seen": at * batch,
            "seconds": round(seconds, 1),
            "prior_seconds": round(prior_seconds, 1),
            "images_per_second": round(at * batch / seconds, 1) if seconds else None,
            "loss_curve": curve,
            "held_out_loss": held_out_loss(averaged, schedule, held_out, device, 0, way, held_out_mu),
        }

    def keep() -> str:
        """Write the state; where it is."""
        numbers = dict(curve=curve, window=window, seconds=seconds, prior_seconds=prior_seconds)
        state = dict(tensors=training.state(), settings=json.dumps(settings), **numbers)
        if processes.first:
            write_state(state, state_file)
        return f"{state_file}, of update {training.done}"

    started, kept = clock() - seconds, seconds
    bar = tqdm(
        range(done, steps), initial=done, total=steps, unit="update", mininterval=2, dynamic_ncols=True,
        file=sys.stderr, disable=not processes.first,
    )  # fmt: skip
    try:
        for at in (step + 1 for step in bar):
            window.append(training.update(images, mu))
            seconds = clock() - started
            if at % 100 == 0 or at == steps:
                curve.append([at, round(sum(window) / len(window), 5)])
                bar.set_postfix(loss=f"{curve[-1][1]:.4f}", images_s=f"{at * batch / seconds:.0f}")
                window.clear()
            # Before the state: a run that goes on from there does not come by this update again.
            if at in keep_at and processes.first:
                save(out.with_stem(f"{out.stem}-{at}"), training.ema.shadow, record(at))
            if at % save_every == 0 or at == steps or seconds - kept >= KEPT_EVERY:
                saved, kept = keep(), seconds
    except Diverged as error:
        bar.close()
        raise InputError(f"{error}; last good state: {saved}") from error
    except KeyboardInterrupt:
        bar.close()
        # Of half an update, or where a checkpoint may be owed, the state saved last is the one to go on from.
        if training.whole and training.done not in keep_at:
            keep()
        raise
    if not processes.first:
        return settings
    final = record(steps)
    save(out, training.ema.shadow, final)
    return final


def _mu(way: Injection, priors: PriorSet | None, images: Tensor) -> Tensor | None:
    """The priors that the network is shown, once it is sure that they belong to the images."""
    if not way.sees_mu:
        return None
    if priors is None:
        raise InputError(f"injection {way.name!r} shows the network a prior: name one (--prior)")
    priors.check(images)
    return priors.mu


def read_state(file: Path, settings: Mapping[str, object]) -> dict | None:
    """What :func:`write_state` wrote, its tensors on the CPU; None where there is no such file.

    Raises:
        InputError: the file is damaged, or of a run with other settings.
    """
    if not file.exists():
        return None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        theirs = json.loads(state["settings"])
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{file} is damaged: delete it, and the run begins anew") from error
    other = [name for name in {**theirs, **settings} if theirs.get(name) != settings.get(name)]
    if other:
        raise InputError(
            f"{file} belongs to a run with other settings ({', '.join(other)}): delete it or choose another --out"
        )
    return state


def write_state(state: Mapping[str, object], file: Path) -> None:
    """A kill leaves the old state or the new one, never a part. ``settings`` in it is JSON text."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(file)
