"""Training the embedded feature extractor: to tell classes of photographs apart, then the classifier is thrown away."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from dipddpm.checkpoints import going_on, read_state, state_file, write_checkpoint, write_state
from dipddpm.data import Dataset, Split
from dipddpm.data.folder import Folder
from dipddpm.errors import InputError
from dipddpm.extractors.embedded64 import SIZE, WIDTH, Embedding, checkpoint, prepare
from dipddpm.paths import shown
from dipddpm.rng import image_keys, seed_for
from dipddpm.training import learning_rate

MARGIN = 4  # pixels a training image is shifted at most: the usual CIFAR augmentation


def labels(dataset: Dataset, split: Split) -> list[str]:
    """The class of each image of ``dataset.load(split)``, in the same order: the name of the sub-folder it lies in.

    Raises:
        InputError: the data set is no ``folder:PATH``, or its images lie flat.
    """
    if not isinstance(dataset, Folder):
        raise InputError(f"data set {dataset.label!r} carries no classes: use folder:PATH with one sub-folder a class")
    found = []
    for file in dataset.files(split):
        inside = file.relative_to(dataset.place_of(split)).parts[:-1]
        if not inside:
            raise InputError(
                f"{shown(file)} lies in no class folder: an extractor is trained on one sub-folder a class"
            )
        found.append(shown(inside[0]))
    return found


def augment(images: Tensor, rng: torch.Generator) -> Tensor:
    """Each image mirrored with probability 1/2 and shifted by up to 4 px, its border mirrored: uint8 in and out."""
    n, _, height, width = images.shape
    padded = F.pad(images.float(), [MARGIN] * 4, mode="reflect")
    rows = torch.randint(2 * MARGIN + 1, (n, 1), generator=rng) + torch.arange(height)
    columns = torch.randint(2 * MARGIN + 1, (n, 1), generator=rng) + torch.arange(width)
    mirrored = torch.rand(n, 1, generator=rng) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    image, channel = torch.arange(n)[:, None, None, None], torch.arange(3)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]].to(torch.uint8)


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, targets: Tensor) -> float:
    """Share of (N, 3, 32, 32) uint8 images whose class is named right."""
    model.eval()
    guesses = torch.cat([model(prepare(chunk)).argmax(1) for chunk in images.split(256)])
    return float((guesses == targets).float().mean())


def train_extractor(
    dataset: Dataset,
    out: Path,
    *,
    epochs: int = 10,
    batch: int = 128,
    lr: float = 4e-3,
    weight_decay: float = 0.05,
    seed: int = 0,
    provenance: Mapping[str, object] | None = None,
) -> dict:
    """Train an ``embedded64`` network on the classes of a folder and write ``out`` with its record beside it.

    AdamW, linear warm-up over an epoch and half a cosine down, cross-entropy with label smoothing 0.1. The state goes
    to ``out`` + ``.state`` after every epoch; the same call goes on from there.

    Args:
        dataset: ``folder:PATH`` at 32 px with one sub-folder per class; ``train`` is learnt, ``test`` only looked at.

    Returns:
        the record: settings, loss curve, accuracy on the test split, seconds.

    Raises:
        InputError: no classes, classes that differ between the splits, a loss that became NaN (the last good state
            stays on disk), or a state that is damaged or of another run.
    """
    if dataset.size != SIZE:
        raise InputError(f"embedded64 is trained at {SIZE} px, the data set is read at {dataset.size}")
    learnt, held_out, classes = _labelled(dataset)
    steps_per_epoch = len(learnt.images) // batch
    if not steps_per_epoch:
        raise InputError(f"{dataset.label}: {len(learnt.images)} training images do not fill one batch of {batch}")

    # The network and its optimiser, and the settings that decide every number.
    torch.manual_seed(seed)
    model = nn.Sequential(Embedding(), nn.Linear(WIDTH, len(classes))).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay, fused=True)
    settings = dict(
        epochs=epochs, batch=batch, lr=lr, weight_decay=weight_decay, seed=seed, classes=classes,
        images=len(learnt.images), images_hash=learnt.hash, held_out=len(held_out.images), held_out_hash=held_out.hash,
        parameters=sum(p.numel() for p in model[0].parameters()),
    )  # fmt: skip

    # Begin, or go on after the last epoch that was done.
    file, done, curve, seconds = state_file(out), 0, [], 0.0
    if state := read_state(file, settings):
        with going_on(file, epochs) as check:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            done, curve, seconds = state["done"], state["curve"], state["seconds"]
            check(done)

    started, steps = time.perf_counter() - seconds, epochs * steps_per_epoch
    bar = tqdm(
        initial=done * steps_per_epoch, total=steps, unit="update", mininterval=2, dynamic_ncols=True, file=sys.stderr,
        disable=None,
    )  # fmt: skip
    for epoch in range(done, epochs):
        # One pass over the images, whose order and augmentation are functions of seed and epoch alone.
        rng = torch.Generator().manual_seed(seed_for(seed, "extractor", epoch))
        rates = [learning_rate(epoch * steps_per_epoch + i, steps, lr, steps_per_epoch) for i in range(steps_per_epoch)]
        loss = _epoch(model, optimizer, learnt, rates, batch, rng, bar)
        if not math.isfinite(loss):
            saved = f"{file}, of epoch {epoch}" if epoch else "none was saved yet"
            raise InputError(f"the loss became NaN in epoch {epoch + 1}; last good state: {saved}")
        seconds = time.perf_counter() - started

        # A point of the curve, and the state.
        held = accuracy(model, held_out.images, held_out.targets)
        curve.append([(epoch + 1) * steps_per_epoch, round(loss, 5), round(held, 4)])
        bar.set_postfix(loss=f"{curve[-1][1]:.3f}", accuracy=f"{held:.3f}")
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        write_state(file, state | {"done": epoch + 1, "curve": curve, "seconds": seconds}, settings)
    bar.close()

    # What is saved is in half precision, so that is what the accuracy on record is measured on.
    model[0].load_state_dict({k: v.half() if v.is_floating_point() else v for k, v in model[0].state_dict().items()})
    some = slice(len(held_out.images))
    record = {
        **settings,
        **(provenance or {}),
        "updates": steps,
        "seconds": round(seconds, 1),
        "curve": {"columns": ["update", "training loss", "held-out accuracy"], "rows": curve},
        "held_out_accuracy": round(accuracy(model, held_out.images, held_out.targets), 4),
        "training_accuracy": round(accuracy(model, learnt.images[some], learnt.targets[some]), 4),
    }
    write_checkpoint(out, checkpoint(model[0].state_dict()), record)
    return record


class _Labelled(NamedTuple):
    """Images (N, 3, H, W) uint8, the number of the class of each, and a hash of both."""

    images: Tensor
    targets: Tensor
    hash: str


def _labelled(dataset: Dataset) -> tuple[_Labelled, _Labelled, list[str]]:
    """What is learnt, what is held out, and the names of the classes."""
    names = {split: labels(dataset, split) for split in ("train", "test")}
    classes = sorted(set(names["train"]))
    if len(classes) < 2 or set(names["test"]) - set(classes):
        raise InputError(f"{dataset.label}: training needs two classes or more, and the same ones in the test split")

    def load(split: Split) -> _Labelled:
        images, targets = dataset.load(split), torch.tensor([classes.index(name) for name in names[split]])
        return _Labelled(images, targets, f"{seed_for(*image_keys(images), *names[split]):x}")

    return load("train"), load("test"), classes


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    learnt: _Labelled,
    rates: Sequence[float],
    batch: int,
    rng: torch.Generator,
    bar: tqdm,
) -> float:
    """One update at each of ``rates``; their mean loss."""
    model.train()
    order, losses = torch.randperm(len(learnt.images), generator=rng), []
    for i, rate in enumerate(rates):
        chosen = order[i * batch : (i + 1) * batch]
        for group in optimizer.param_groups:
            group["lr"] = rate
        x = prepare(augment(learnt.images[chosen], rng)).contiguous(memory_format=torch.channels_last)
        loss = F.cross_entropy(model(x), learnt.targets[chosen], label_smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        bar.update()
    return sum(losses) / len(losses)
