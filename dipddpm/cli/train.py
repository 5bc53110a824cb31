"""``dipddpm train``: a denoiser, with the priors that it is to be shown."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor

from dipddpm.cli.options import provenance, writable, writable_folder
from dipddpm.data import open_dataset
from dipddpm.data.split_leaks import leaks_of_splits, warn_of_leaks
from dipddpm.distributed import Processes, processes
from dipddpm.injection import Injection, injection, injections
from dipddpm.measure.instruments.timer import synchronised
from dipddpm.measure.store import Store
from dipddpm.prior_sets import PriorSet, PriorSettings, make_priors, observe
from dipddpm.progress import progress
from dipddpm.registry import choose
from dipddpm.rng import ImageRng, image_keys
from dipddpm.schedule import Schedule
from dipddpm.trackers import Followers, check_given, following
from dipddpm.train import train
from dipddpm.training import TrainingSettings, initial_network
from dipddpm.unet import UNet

INITIALISED_FROM = 64  # images that `--injection weights` fits the network to before it is trained


def run(args: argparse.Namespace) -> None:
    """``dipddpm train``."""
    writable(args.out)
    check_given(vars(args))
    if args.injection != "none":
        writable_folder(args.cache, "--cache")
    dataset = open_dataset(args.dataset, args.data_root, args.size)
    if dataset.takes_location:  # what is shipped is known, and cifar10 is large
        warn_of_leaks(dataset.label, leaks_of_splits(dataset))
    images, held_out = dataset.images("train"), dataset.sample("test", args.held_out, or_fewer=True)
    settings = TrainingSettings(
        args.steps, batch=args.batch, lr=args.lr, ema_decay=args.ema, seed=args.seed, precision=args.precision,
        compiled=args.compile,
    )  # fmt: skip
    able = [name for name, kind in injections().items() if kind.trained or name == "none"]
    entry = injection(choose("injection to train for", args.injection, able))
    config = {"size": args.size, "channels": args.channels, "blocks": args.blocks}
    model = initial_network(config, args.seed, entry.channels)
    with processes(args.device) as (group, device), _followed(args, group) as followers:
        file = args.priors or args.out.with_suffix(".priors.safetensors")
        priors = _priors(args, entry, file, images, group, device)
        held_out_priors = _priors(args, entry, file.with_stem(f"{file.stem}.held-out"), held_out, group, device)

        def initialise(model: UNet) -> None:
            few = images[:: max(1, len(images) // INITIALISED_FROM)][:INITIALISED_FROM]
            rng = ImageRng.for_images(image_keys(few), args.seed, args.task, "weights", device=device)
            observation = observe(few, args.task, args.seed, device)
            entry.initialise(model, observation, Schedule.linear(), rng, args.dip_iterations)

        fitted = {"task": args.task, "iterations": args.dip_iterations, "seed": args.seed}
        record = train(
            images,
            held_out,
            args.out,
            model=model,
            schedule=Schedule.linear(),
            settings=settings,
            injection=entry,
            priors=priors,
            held_out_priors=held_out_priors,
            initialise=initialise if entry.initialises else None,
            initialised=fitted if entry.initialises else None,
            device=device,
            processes=group,
            keep_at=args.keep_at,
            provenance=provenance(dataset.label),
            follow=lambda at, loss: followers.tell(lambda tracker: tracker.numbers({"loss": loss}, at)),
        )
        if group.first:
            _tell_the_end(followers, record, args.out)
            losses = ", ".join(f"t={t}: {loss:.4f}" for t, loss in record["held_out_loss"].items())
            print(f"wrote {args.out} after {record['updates']} updates; held-out loss {losses}")


def _followed(args: argparse.Namespace, group: Processes) -> AbstractContextManager[Followers]:
    """The trackers that were asked for, in the first process."""
    return following(vars(args) if group.first else {}, f"train {args.out.stem}")


def _tell_the_end(followers: Followers, record: dict, out: Path) -> None:
    """The settings of a training, and the loss on held-out images by noise level."""
    settings = {name: str(value) for name, value in record.items() if isinstance(value, str | int | float | bool)}
    held_out = {f"held-out loss/t={t}": loss for t, loss in record["held_out_loss"].items()}
    followers.tell(lambda tracker: tracker.settings(settings))
    followers.tell(lambda tracker: tracker.numbers(held_out, record["updates"]))
    followers.tell(lambda tracker: tracker.files([out.with_suffix(".json")]))


def _priors(
    args: argparse.Namespace, entry: Injection, file: Path, images: Tensor, group: Processes, device: torch.device
) -> PriorSet | None:
    """The priors of some images, where the network is shown them. The first process makes them, all read them."""
    if not entry.sees_mu:
        return None
    of = PriorSettings(args.prior, args.task, args.dip_architecture, args.dip_iterations, args.seed)
    if group.first and not file.exists():
        memo = Store(args.cache, device).measured
        with progress(len(images), unit="prior") as bar:
            make_priors(images, of, memo, device=device, clock=synchronised, progress=bar.update).save(file)
    group.wait()
    return PriorSet.load(file, of)
