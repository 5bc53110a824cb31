"""The command ``dipddpm``: parses, calls a verb, prints."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import torch

from dipddpm import __version__
from dipddpm.arms import Arm
from dipddpm.data import open_dataset
from dipddpm.denoisers import open_denoiser
from dipddpm.denoisers.unet import save_checkpoint
from dipddpm.errors import InputError
from dipddpm.generate import generate
from dipddpm.generation import Generation
from dipddpm.measure import compare
from dipddpm.measure.baseline import NoBaseline, device_type, load, section_for
from dipddpm.measure.calibrate import PARTS, Calibration
from dipddpm.measure.figures import draw
from dipddpm.measure.leaderboard import frame
from dipddpm.measure.outcomes import NO_BASELINE
from dipddpm.measure.promote import promote
from dipddpm.measure.record import MeasureError, Run
from dipddpm.measure.report import write
from dipddpm.measure.store import Store
from dipddpm.measure.timer import synchronised
from dipddpm.priors import prior
from dipddpm.restore import Setting
from dipddpm.sampling import SAMPLERS
from dipddpm.schedule import Schedule
from dipddpm.training import train
from dipddpm.training_extractor import train_extractor
from dipddpm.unet import UNet


def _worker(text: str) -> tuple[int, int]:
    try:
        i, n = map(int, text.split("/"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"write I/N, such as 0/4, not {text!r}") from error
    return i, n


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


def _train_extractor(args: argparse.Namespace) -> None:
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


def _generate(args: argparse.Namespace) -> None:
    denoiser = open_denoiser(args.denoiser, args.device)
    if args.prior_from:
        longest = args.dip_iterations if prior(args.prior).uses_dip and args.prior != "untrained" else 0
        arm = Arm(args.prior, args.dip_architecture if prior(args.prior).uses_dip else "", longest)
        generation = Generation(
            open_dataset(args.prior_from, args.data_root, denoiser.size), denoiser,
            Store(args.cache, args.device).measured, iterations=[longest], seed=args.seed, device=args.device,
            clock=synchronised,
        )  # fmt: skip
        setting = generation.setting(arm, args.nfe, args.t0, args.sampler, args.eta)
        images = generation.stream(arm, setting, args.out, args.count, batch=args.batch, worker=args.worker)
    elif args.t0 is not None or args.nfe == 0:
        raise InputError("--t0 and --nfe 0 need a prior: say where its photographs are with --prior-from")
    else:
        images = generate(
            denoiser, args.count, args.out, Setting(args.nfe, sampler=args.sampler, eta=args.eta, held=False),
            seed=args.seed, batch=args.batch, worker=args.worker, device=args.device, clock=synchronised,
        )  # fmt: skip
    each = images.seconds / max(1, len(images))
    print(f"{args.out} holds {len(images)} images, {images.nfe} evaluations and {each:.3g} s of sampling each")


def _report(args: argparse.Namespace) -> None:
    run = Run.load(args.run)
    figures = draw(run, args.out / "figures")
    for path in (*write(run, frame(run), args.out, figures), *figures):
        print(f"wrote {path}")


def _compare(args: argparse.Namespace) -> int:
    run, sections = Run.load(args.run), load(args.baseline)
    section = section_for(run, sections, args.baseline)
    found = compare.compare(run, section, device=device_type(run), dedicated=args.dedicated)
    print("\n\n".join(part for part in (found.table(), found.summary(args.baseline.as_posix())) if part))
    return found.code


def _promote(args: argparse.Namespace) -> None:
    run = Run.load(args.run)
    profile, *axes = str(run.settings.get("profile", "")).split()
    if axes and not args.out:
        raise MeasureError(f"{args.run} is of {profile} with {' '.join(axes)}: name the file with --out")
    out = args.out or Path("baselines") / f"{profile}.json"
    section = promote(run, args.reason, out)
    print(f"wrote {out}: {len(section.entries)} entries for {device_type(run)}")


def _calibrate(args: argparse.Namespace) -> None:
    settings = load(args.baseline, check=False).get(args.device)
    profile, *axes = str(settings.settings.get("profile", "")).split() if settings else [""]
    options = args.options or [*(["--profile", profile] if profile else []), *(f"--axis={axis}" for axis in axes)]
    calibration = Calibration(args.baseline, args.device, options)
    for part in args.only or PARTS:
        if part == "timing":
            print(calibration.timing(args.repeats))
        elif part == "quality":
            print(calibration.quality())
        elif part == "hog":
            print(calibration.hog(args.repeats, args.hogs))
        else:
            print(calibration.detection())
    load(args.baseline)  # says which tolerance is below the floor


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

    p = verbs.add_parser("train-extractor", help="train a feature extractor on classes; run again to go on")
    p.add_argument("--dataset", required=True, help="folder:PATH with one sub-folder a class")
    p.add_argument("--out", type=Path, required=True, help="file to write, NAME.safetensors")
    p.add_argument("--epochs", type=int, default=10, help="passes over the images (default %(default)s)")
    p.add_argument("--batch", type=int, default=128, help="images an update (default %(default)s)")
    p.add_argument("--lr", type=float, default=4e-3, help="peak learning rate (default %(default)s)")
    p.add_argument("--seed", type=int, default=0)
    p.set_defaults(verb=_train_extractor)

    p = verbs.add_parser("generate", help="sample a population into a folder; run again to go on, or for more")
    p.add_argument("--denoiser", default="unet", help="unet, unet:FILE.safetensors, diffusers:FOLDER_OR_HUB_NAME")
    p.add_argument("--count", type=int, required=True, help="images in the folder when done")
    p.add_argument("--out", type=Path, required=True, help="folder, of one configuration")
    p.add_argument("--nfe", type=int, default=50, help="network evaluations an image (default %(default)s)")
    p.add_argument("--sampler", choices=sorted(SAMPLERS), default="ddim", help="(default %(default)s)")
    p.add_argument("--eta", type=float, default=0.0, help="of ddim: 0 deterministic, 1 ancestral (default %(default)s)")
    p.add_argument("--prior-from", metavar="DATASET", help="photographs to make priors of (default: start from noise)")
    p.add_argument("--data-root", type=Path, help="where downloaded data sets lie")
    p.add_argument("--prior", default="dip", help="dip, blur, mean_colour, oracle (the photograph), ... (default dip)")
    p.add_argument("--t0", type=int, help="step that a prior enters at")
    p.add_argument("--dip-architecture", default="skip", help="(default %(default)s)")
    p.add_argument("--dip-iterations", type=int, default=100, help="(default %(default)s)")
    p.add_argument("--cache", type=Path, default=Path(".dipddpm/cache"), help="where DIP fits are kept")
    p.add_argument("--batch", type=int, default=64, help="images sampled together (default %(default)s)")
    p.add_argument("--worker", type=_worker, default=(0, 1), metavar="I/N", help="process I of N that share the folder")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.set_defaults(verb=_generate)

    p = verbs.add_parser("report", help="draw tables and figures from the raw file of a run")
    p.add_argument("run", type=Path, help="RUN.json")
    p.add_argument("--out", type=Path, default=Path("reports"), help="folder (default %(default)s)")
    p.set_defaults(verb=_report)

    p = verbs.add_parser(
        "compare", help="compare a run with a baseline",
        epilog="exit codes: 0 holds, 1 regression, 2 bad input, 3 no baseline, 4 undecided, 5 nothing measured",
    )  # fmt: skip
    p.add_argument("run", type=Path, help="RUN.json")
    p.add_argument("baseline", type=Path, help="baselines/NAME.json")
    p.add_argument("--dedicated", action="store_true", help="times are from a machine that does nothing else")
    p.set_defaults(verb=_compare)

    baseline = verbs.add_parser("baseline", help="make baselines").add_subparsers(required=True, metavar="VERB")
    p = baseline.add_parser("promote", help="make a run the baseline of its device type")
    p.add_argument("run", type=Path, help="RUN.json of a whole run without failures")
    p.add_argument("--reason", default="", help="what changed, and why it is right; the file keeps it")
    p.add_argument("--out", type=Path, help="file (default baselines/PROFILE.json)")
    p.set_defaults(verb=_promote)

    p = verbs.add_parser(
        "calibrate", help="run the suites against themselves and write the noise floor into a baseline",
        epilog="Each run is kept under .dipddpm/calibration: the same command goes on where it was stopped.",
    )  # fmt: skip
    p.add_argument("baseline", type=Path, help="baselines/NAME.json")
    p.add_argument("options", nargs="*", help="pytest options of the baseline, after -- (default: its profile)")
    p.add_argument("--only", action="append", choices=PARTS, help="may be repeated (default: all, in this order)")
    p.add_argument("--repeats", type=int, default=20, help="runs for timing and hog (default %(default)s)")
    p.add_argument("--hogs", type=int, default=2, help="busy processes beside the runs of hog (default %(default)s)")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.set_defaults(verb=_calibrate)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit code. Bad input is one line on stderr and exit code 2."""
    args = parser().parse_args(argv)
    try:
        return args.verb(args) or 0
    except NoBaseline as error:
        print(f"dipddpm: {error}", file=sys.stderr)
        return NO_BASELINE
    except (InputError, MeasureError) as error:
        print(f"dipddpm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dipddpm: stopped; the same command goes on from the last saved state", file=sys.stderr)
        return 130
