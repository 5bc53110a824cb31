"""Training the embedded feature extractor: to tell classes of photographs apart, then the classifier is thrown away."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from dipddpm.data import Dataset, Split
from dipddpm.data.folder import Folder
from dipddpm.errors import InputError
from dipddpm.extractors.embedded64 import SIZE, WIDTH, Embedding, prepare, save_embedding
from dipddpm.rng import image_keys, seed_for
from dipddpm.train import read_state, write_state
from dipddpm.training import learning_rate

MARGIN = 4  # pixels a training image is shifted at most: the usual CIFAR augmentation


def labels(dataset: Dataset, split: Split) -> list[str]:
    """The class of each image of ``dataset.load(split)``, in the same order: the name of the sub-folder it lies in.

    Raises:
        InputError: the data set is no ``folder:PATH``, or its images lie flat.
    """
    if not isinstance(dataset, Folder):
        raise InputError(f"data set {dataset.label!r} carries no classes: use folder:PATH with one sub-folder a class")
    root = Path(dataset.location or "")
    found = []
    for file in dataset.files(split):
        parts = file.relative_to(root).parts[:-1]
        inside = parts[1:] if parts[:1] in (("train",), ("validation",), ("test",)) else parts
        if not inside:
            raise InputError(f"{file} lies in no class folder: an extractor is trained on one sub-folder a class")
        found.append(inside[0])
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
        dataset: ``folder:PATH`` at 32 px with one sub-folder a class; ``train`` is learnt, ``test`` only looked at.

    Returns:
        the record: settings, loss curve, accuracy on the test split, seconds.

    Raises:
        InputError: no classes, classes that differ between the splits, a loss that became NaN (the last good state
            stays on disk), or a state that is damaged or of another run.
    """
    if dataset.size != SIZE:
        raise InputError(f"embedded64 is trained at {SIZE} px, the data set is read at {dataset.size}")
    names, held_names = labels(dataset, "train"), labels(dataset, "test")
    classes = sorted(set(names))
    if len(classes) < 2 or set(held_names) - set(classes):
        raise InputError(f"{dataset.label}: training needs two classes or more, and the same ones in the test split")
    images, held_out = dataset.load("train"), dataset.load("test")
    targets = torch.tensor([classes.index(name) for name in names])
    held_targets = torch.tensor([classes.index(name) for name in held_names])

    torch.manual_seed(seed)
    model = nn.Sequential(Embedding(), nn.Linear(WIDTH, len(classes))).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay, fused=True)
    settings = dict(
        epochs=epochs, batch=batch, lr=lr, weight_decay=weight_decay, seed=seed, classes=classes, images=len(images),
        images_hash=f"{seed_for(*image_keys(images), *names):x}", held_out=len(held_out),
        held_out_hash=f"{seed_for(*image_keys(held_out), *held_names):x}",
        parameters=sum(p.numel() for p in model[0].parameters()),
    )  # fmt: skip
    an_epoch = len(images) // batch
    steps = epochs * an_epoch
    if not an_epoch:
        raise InputError(f"{dataset.label}: {len(images)} training images do not fill one batch of {batch}")
    state_file = out.with_suffix(out.suffix + ".state")
    done, curve, seconds = 0, [], 0.0
    state = read_state(state_file, settings)
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done, curve, seconds = state["done"], state["curve"], state["seconds"]

    started = time.perf_counter() - seconds
    bar = tqdm(initial=done * an_epoch, total=steps, unit="update", mininterval=2, dynamic_ncols=True, file=sys.stderr)
    for epoch in range(done, epochs):
        model.train()
        rng = torch.Generator().manual_seed(seed_for(seed, "extractor", epoch))
        order, losses = torch.randperm(len(images), generator=rng), []
        for i in range(an_epoch):
            chosen = order[i * batch : (i + 1) * batch]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(epoch * an_epoch + i, steps, lr, warmup=an_epoch)
            x = prepare(augment(images[chosen], rng)).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(x), targets[chosen], label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            bar.update()
        if not math.isfinite(sum(losses)):
            saved = f"{state_file}, of epoch {epoch}" if epoch else "none was saved yet"
            raise InputError(f"the loss became NaN in epoch {epoch + 1}; last good state: {saved}")
        seconds = time.perf_counter() - started
        held = accuracy(model, held_out, held_targets)
        curve.append([(epoch + 1) * an_epoch, round(sum(losses) / an_epoch, 5), round(held, 4)])
        bar.set_postfix(loss=f"{curve[-1][1]:.3f}", accuracy=f"{held:.3f}")
        state = dict(
            model=model.state_dict(), optimizer=optimizer.state_dict(), done=epoch + 1, curve=curve, seconds=seconds,
            settings=json.dumps(settings),
        )  # fmt: skip
        write_state(state, state_file)
    bar.close()
    # What is saved is in half precision, so that is what the accuracy on record is measured on.
    model[0].load_state_dict({k: v.half() if v.is_floating_point() else v for k, v in model[0].state_dict().items()})
    record = {
        **settings,
        **(provenance or {}),
        "updates": steps,
        "seconds": round(seconds, 1),
        "curve": {"columns": ["update", "training loss", "held-out accuracy"], "rows": curve},
        "held_out_accuracy": round(accuracy(model, held_out, held_targets), 4),
        "training_accuracy": round(accuracy(model, images[: len(held_out)], targets[: len(held_out)]), 4),
    }
    save_embedding(out, model[0].state_dict(), record)
    return record
