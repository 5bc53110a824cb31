"""The command ``dipddpm``: parses, calls a verb, prints."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import torch

from dipddpm import __version__
from dipddpm.data import open_dataset
from dipddpm.denoisers.unet import save_checkpoint
from dipddpm.errors import InputError
from dipddpm.measure.figures import draw
from dipddpm.measure.leaderboard import frame
from dipddpm.measure.record import MeasureError, Run
from dipddpm.measure.report import write
from dipddpm.schedule import Schedule
from dipddpm.training import train
from dipddpm.unet import UNet


def _ints(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def _train(args: argparse.Namespace) -> None:
    dataset = open_dataset(args.dataset, args.data_root, args.size)
    images, held_out = dataset.load("train"), dataset.sample("test", args.held_out)
    torch.manual_seed(args.seed)
    model = UNet(size=args.size, channels=args.channels, blocks=args.blocks)
    record = train(
        images,
        held_out,
        args.out,
        model=model,
        schedule=Schedule.linear(),
        steps=args.steps,
        batch=args.batch,
        lr=args.lr,
        ema_decay=args.ema,
        seed=args.seed,
        device=args.device,
        keep_at=args.keep_at,
        provenance={
            "command": "dipddpm " + shlex.join(sys.argv[1:]),
            "data": dataset.label,
            "torch": torch.__version__,
        },
        save=save_checkpoint,
    )
    losses = ", ".join(f"t={t}: {loss:.4f}" for t, loss in record["held_out_loss"].items())
    print(f"wrote {args.out} after {record['updates']} updates; held-out loss {losses}")


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
    p.add_argument("--held-out", type=int, default=512, help="held-out images for the loss (default %(default)s)")
    p.add_argument("--keep-at", type=_ints, default=(), help="updates whose checkpoint is kept besides the last")
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
        print(f"dipddpm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dipddpm: stopped; the same command goes on from the last saved state", file=sys.stderr)
        return 130
    return 0
