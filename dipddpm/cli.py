"""The command ``dipddpm``: parses, calls a verb, prints."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from dipddpm import __version__
from dipddpm.data import open_dataset
from dipddpm.denoisers.unet import save_checkpoint
from dipddpm.distributed import Processes, processes
from dipddpm.errors import InputError
from dipddpm.injection import Injection, injection, injections
from dipddpm.measure.figures import draw
from dipddpm.measure.leaderboard import frame
from dipddpm.measure.record import MeasureError, Run
from dipddpm.measure.report import write
from dipddpm.measure.store import Store
from dipddpm.measure.timer import synchronised
from dipddpm.priorset import PriorRecipe, PriorSet, make_priors, observe
from dipddpm.registry import choose
from dipddpm.rng import ImageRng, image_keys
from dipddpm.schedule import Schedule
from dipddpm.training import train
from dipddpm.updates import Recipe, initial_network

INITIALISED_FROM = 64  # images that `--injection weights` fits the network to before it is trained


def _ints(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def _train(args: argparse.Namespace) -> None:
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
        priors = _priors(args, way, ".priors.safetensors", images, group, device)
        held_out_priors = _priors(args, way, ".held-out-priors.safetensors", held_out, group, device)
        few = images[:: max(1, len(images) // INITIALISED_FROM)][:INITIALISED_FROM]
        rng = ImageRng.for_images(image_keys(few), args.seed, args.task, "weights", device=device)
        way.initialise(
            model.to(device), observe(few, args.task, args.seed, device), Schedule.linear(), rng, args.dip_iterations
        )
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
            device=device,
            processes=group,
            keep_at=args.keep_at,
            provenance={
                "command": "dipddpm " + shlex.join(sys.argv[1:]),
                "data": dataset.label,
                "torch": torch.__version__,
                "prior_seconds": round(priors.seconds, 1) if priors else 0.0,
            },
            save=save_checkpoint,
        )
        if group.first:
            losses = ", ".join(f"t={t}: {loss:.4f}" for t, loss in record["held_out_loss"].items())
            print(f"wrote {args.out} after {record['updates']} updates; held-out loss {losses}")


def _priors(
    args: argparse.Namespace, way: Injection, suffix: str, images: Tensor, group: Processes, device: torch.device
) -> PriorSet | None:
    """The priors of some images, if ``way`` shows them to the network. The first process makes them, all read them."""
    if not way.sees_mu:
        return None
    of = PriorRecipe(args.prior, args.task, args.dip_architecture, args.dip_iterations, args.seed)
    file = (args.priors or args.out).with_suffix(suffix)
    if group.first and not file.exists():
        memo = Store(args.cache, device).measured
        with tqdm(total=len(images), unit="prior", mininterval=2, file=sys.stderr) as bar:
            make_priors(images, of, memo, device=device, clock=synchronised, progress=bar.update).save(file)
    group.wait()
    return PriorSet.load(file, of)


def _report(args: argparse.Namespace) -> None:
    run = Run.load(args.run)
    figures = draw(run, args.out / "figures")
    for path in (*write(run, frame(run), args.out, figures), *figures):
        print(f"wrote {path}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="dipddpm", description=__doc__)
    top.add_argument("--version", action="version", version=__version__)
    verbs = top.add_subparsers(required=True, metavar="VERB")

    p = verbs.add_parser("train", help="train a denoiser; run again to go on where it stopped")
    p.add_argument("--dataset", default="photo-patches", help="photo-patches, cifar10 or folder:PATH")
    p.add_argument("--data-root", type=Path, help="where downloaded data sets lie")
    p.add_argument("--out", type=Path, required=True, help="checkpoint to write, NAME.safetensors")
    p.add_argument("--steps", type=int, default=5000, help="updates (default %(default)s)")
    p.add_argument("--batch", type=int, default=64, help="images an update (default %(default)s)")
    p.add_argument("--lr", type=float, default=5e-4, help="peak learning rate (default %(default)s)")
    p.add_argument("--ema", type=float, default=0.999, help="decay of the averaged weights (default %(default)s)")
    p.add_argument("--size", type=int, default=32, help="pixels (default %(default)s)")
    p.add_argument("--channels", type=_ints, default=(32, 64, 96), help="width at each resolution (default 32,64,96)")
    p.add_argument("--blocks", type=int, default=1, help="residual blocks a resolution (default %(default)s)")
    p.add_argument(
        "--held-out", type=int, default=512, help="held-out images for the loss, at most (default %(default)s)"
    )
    p.add_argument("--keep-at", type=_ints, default=(), help="updates whose checkpoint is kept besides the last")
    p.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the network (default fp32)")
    p.add_argument("--compile", action="store_true", help="through torch.compile")
    p.add_argument("--injection", default="none", help="how a prior enters: none, residual, concat, weights")
    p.add_argument("--prior", default="dip", help="dip, or a control: bicubic, mean_colour, ... (default %(default)s)")
    p.add_argument("--task", default="inpaint", help="what priors are made from: observations of this degradation")
    p.add_argument("--dip-architecture", default="deep_decoder", help="(default %(default)s)")
    p.add_argument("--dip-iterations", type=int, default=200, help="(default %(default)s)")
    p.add_argument("--priors", type=Path, help="file that holds the priors, or will (default: beside --out)")
    p.add_argument(
        "--cache", type=Path, default=Path(".dipddpm/cache"), help="where each batch of priors is found again"
    )
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.set_defaults(verb=_train)

    p = verbs.add_parser("report", help="draw tables and figures from the raw file of a run")
    p.add_argument("run", type=Path, help="RUN.json")
    p.add_argument("--out", type=Path, default=Path("reports"), help="folder (default %(default)s)")
    p.set_defaults(verb=_report)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit code. Bad input is one line on stderr and exit code 2."""
    args = parser().parse_args(argv)
    try:
        args.verb(args)
    except (InputError, MeasureError) as error:
        if os.environ.get("RANK", "0") == "0":  # of several processes that fail alike, one says it
            print(f"dipddpm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dipddpm: stopped; the same command goes on from the last saved state", file=sys.stderr)
        return 130
    return 0
