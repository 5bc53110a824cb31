"""``dipddpm train`` and ``dipddpm train-extractor``."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from dipddpm.cli.options import add_device, count, decay, rate, writable
from dipddpm.data import open_dataset
from dipddpm.denoisers.unet import save_checkpoint
from dipddpm.distributed import Processes, processes
from dipddpm.injection import Injection, injection, injections
from dipddpm.measure.instruments.timer import synchronised
from dipddpm.measure.store import Store
from dipddpm.prior_sets import PriorRecipe, PriorSet, make_priors, observe
from dipddpm.registry import choose
from dipddpm.rng import ImageRng, image_keys
from dipddpm.schedule import Schedule
from dipddpm.train import train
from dipddpm.train_extractor import train_extractor
from dipddpm.training import Recipe, initial_network
from dipddpm.unet import UNet

INITIALISED_FROM = 64  # images that `--injection weights` fits the network to before it is trained


def add(verbs: argparse._SubParsersAction) -> None:
    """The two verbs and their options."""
    p = verbs.add_parser("train", help="train a denoiser; run again to go on where it stopped")
    p.add_argument("--dataset", default="photo-patches", help="photo-patches, cifar10 or folder:PATH")
    p.add_argument("--data-root", type=Path, help="where downloaded data sets lie")
    p.add_argument("--out", type=Path, required=True, help="checkpoint to write, NAME.safetensors")
    p.add_argument("--steps", type=count, default=5000, help="updates (default %(default)s)")
    p.add_argument("--batch", type=count, default=64, help="images an update (default %(default)s)")
    p.add_argument("--lr", type=rate, default=5e-4, help="peak learning rate (default %(default)s)")
    p.add_argument("--ema", type=decay, default=0.999, help="decay of the averaged weights (default %(default)s)")
    p.add_argument("--size", type=count, default=32, help="pixels (default %(default)s)")
    p.add_argument("--channels", type=_ints, default=(32, 64, 96), help="width at each resolution (default 32,64,96)")
    p.add_argument("--blocks", type=count, default=1, help="residual blocks a resolution (default %(default)s)")
    p.add_argument(
        "--held-out", type=count, default=512, help="held-out images for the loss, at most (default %(default)s)"
    )
    p.add_argument("--keep-at", type=_ints, default=(), help="updates whose checkpoint is kept besides the last")
    p.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the network (default fp32)")
    p.add_argument("--compile", action="store_true", help="through torch.compile")
    p.add_argument(
        "--injection", default="none",
        help="how a prior enters: none; weights (a checkpoint like any other); residual or concat (a checkpoint that "
        "restores in Python alone, from such priors: UNetDenoiser(FILE, way='residual'))",
    )  # fmt: skip
    p.add_argument("--prior", default="dip", help="dip, or a control: bicubic, mean_colour, ... (default %(default)s)")
    p.add_argument("--task", default="inpaint", help="what priors are made from: observations of this degradation")
    p.add_argument("--dip-architecture", default="deep_decoder", help="(default %(default)s)")
    p.add_argument("--dip-iterations", type=count, default=200, help="(default %(default)s)")
    p.add_argument(
        "--priors", type=Path, metavar="FILE",
        help="NAME.safetensors that holds the priors, or will; NAME.held-out.safetensors those of held-out images "
        "(default: beside --out)",
    )  # fmt: skip
    p.add_argument(
        "--cache", type=Path, default=Path(".dipddpm/cache"), help="where each batch of priors is found again"
    )
    p.add_argument("--seed", type=int, default=0)
    add_device(p)
    p.set_defaults(verb=_train)

    p = verbs.add_parser("train-extractor", help="train a feature extractor on classes; run again to go on")
    p.add_argument("--dataset", required=True, help="folder:PATH with one sub-folder a class")
    p.add_argument("--out", type=Path, required=True, help="file to write, NAME.safetensors")
    p.add_argument("--epochs", type=count, default=10, help="passes over the images (default %(default)s)")
    p.add_argument("--batch", type=count, default=128, help="images an update (default %(default)s)")
    p.add_argument("--lr", type=rate, default=4e-3, help="peak learning rate (default %(default)s)")
    p.add_argument("--seed", type=int, default=0)
    p.set_defaults(verb=_train_extractor)


def _ints(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def _train(args: argparse.Namespace) -> None:
    writable(args.out)
    dataset = open_dataset(args.dataset, args.data_root, args.size)
    images, held_out = dataset.load("train"), dataset.sample("test", args.held_out, or_fewer=True)
    recipe = Recipe(
        args.steps, batch=args.batch, lr=args.lr, ema_decay=args.ema, seed=args.seed, precision=args.precision,
        compiled=args.compile,
    )  # fmt: skip
    able = [name for name, kind in injections().items() if kind.trained or name == "none"]
    way = injection(choose("injection to train for", args.injection, able))
    config = {"size": args.size, "channels": args.channels, "blocks": args.blocks}
    model = initial_network(config, args.seed, way.channels)
    with processes(args.device) as (group, device):
        file = args.priors or args.out.with_suffix(".priors.safetensors")
        priors = _priors(args, way, file, images, group, device)
        held_out_priors = _priors(args, way, file.with_stem(f"{file.stem}.held-out"), held_out, group, device)

        def initialise(model: UNet) -> None:
            few = images[:: max(1, len(images) // INITIALISED_FROM)][:INITIALISED_FROM]
            rng = ImageRng.for_images(image_keys(few), args.seed, args.task, "weights", device=device)
            observation = observe(few, args.task, args.seed, device)
            way.initialise(model, observation, Schedule.linear(), rng, args.dip_iterations)

        fitted = {"task": args.task, "iterations": args.dip_iterations, "seed": args.seed}
        record = train(
            images,
            held_out,
            args.out,
            model=model,
            schedule=Schedule.linear(),
            recipe=recipe,
            way=way,
            priors=priors,
            held_out_priors=held_out_priors,
            initialise=initialise if way.initialises else None,
            initialised=fitted if way.initialises else None,
            device=device,
            processes=group,
            keep_at=args.keep_at,
            provenance={
                "command": "dipddpm " + shlex.join(sys.argv[1:]),
                "data": dataset.label,
                "torch": torch.__version__,
            },
            save=save_checkpoint,
        )
        if group.first:
            losses = ", ".join(f"t={t}: {loss:.4f}" for t, loss in record["held_out_loss"].items())
            print(f"wrote {args.out} after {record['updates']} updates; held-out loss {losses}")


def _priors(
    args: argparse.Namespace, way: Injection, file: Path, images: Tensor, group: Processes, device: torch.device
) -> PriorSet | None:
    """The priors of some images, if ``way`` shows them to the network. The first process makes them, all read them."""
    if not way.sees_mu:
        return None
    of = PriorRecipe(args.prior, args.task, args.dip_architecture, args.dip_iterations, args.seed)
    if group.first and not file.exists():
        memo = Store(args.cache, device).measured
        with tqdm(total=len(images), unit="prior", mininterval=2, file=sys.stderr) as bar:
            make_priors(images, of, memo, device=device, clock=synchronised, progress=bar.update).save(file)
    group.wait()
    return PriorSet.load(file, of)


def _train_extractor(args: argparse.Namespace) -> None:
    writable(args.out)
    dataset = open_dataset(args.dataset)
    provenance = {
        "command": "dipddpm " + shlex.join(sys.argv[1:]),
        "data": dataset.label,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    record = train_extractor(
        dataset, args.out, epochs=args.epochs, batch=args.batch, lr=args.lr, seed=args.seed, provenance=provenance
    )
    print(f"wrote {args.out} after {record['updates']} updates; held-out accuracy {record['held_out_accuracy']:.1%}")
