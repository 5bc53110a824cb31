"""Every verb and its options. Nothing here imports torch, so that help and usage errors come at once.

What a verb does is in the module that its ``module`` default names. Names that an option can take are checked by that
module where other distributions may add some; where none can, they are written out here, and a test holds them to what
there is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import shtab

from dipddpm import __version__
from dipddpm.cli.examples import add_examples
from dipddpm.cli.first_verbs import add_bench, add_data, add_fit, add_new, add_restore
from dipddpm.cli.options import (
    add_device,
    add_precision,
    add_trackers,
    count,
    decay,
    integers,
    names,
    path,
    rate,
    seed,
    share,
    size,
)  # fmt: skip
from dipddpm.measure.exit_codes import table
from dipddpm.measure.time_limit import LONGEST, seconds

SAMPLERS = ("ddim", "ddpm", "dpmpp_2m", "renoise", "daps")
STAGES = ("dip-fit", "training-step", "evaluation", "sampling", "metrics", "features")
CALIBRATED = ("timing", "quality", "hog", "detection")

DATA_ROOT = "where downloaded data sets lie"
DENOISER = "unet, unet:FILE.safetensors, diffusers:FOLDER_OR_HUB_NAME, edm:MODULE:FUNCTION, flow:MODULE:FUNCTION"


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="dipddpm", description="Does a Deep Image Prior start pay for itself?", epilog=f"exit codes:\n{table()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("--version", action="version", version=__version__)
    shtab.add_argument_to(top, "--print-completion", help="completion for a shell, to be sourced")
    verbs = top.add_subparsers(required=True, metavar="VERB")
    for add in (
        add_bench, add_fit, add_restore, add_new, add_data,
        _train, _train_extractor, _train_warm_start, _train_educated, _generate, _score, _report, _submit, _publish,
        _compare, _baseline, _calibrate, _sweep, _profile, _doctor, _cache,
    ):  # fmt: skip
        add(verbs)
    add_examples(verbs)
    return top


# ---- Networks -----------------------------------------------------------------------------------------------------


def _train(verbs: argparse._SubParsersAction) -> None:
    p = verbs.add_parser("train", help="train a denoiser; run again to go on where it stopped")
    p.add_argument("--dataset", default="photo-patches", help="photo-patches, cifar10 or folder:PATH")
    p.add_argument("--data-root", type=path, help=DATA_ROOT)
    p.add_argument("--out", type=path, required=True, help="checkpoint to write, NAME.safetensors")
    p.add_argument("--steps", type=count, default=5000, help="updates (default %(default)s)")
    p.add_argument("--batch", type=count, default=64, help="images per update (default %(default)s)")
    p.add_argument("--lr", type=rate, default=5e-4, help="peak learning rate (default %(default)s)")
    p.add_argument("--ema", type=decay, default=0.999, help="decay of the averaged weights (default %(default)s)")
    p.add_argument("--size", type=count, default=32, help="pixels (default %(default)s)")
    p.add_argument("--channels", type=integers, default=(32, 64, 96), help="width per resolution (default 32,64,96)")
    p.add_argument("--blocks", type=count, default=1, help="residual blocks per resolution (default %(default)s)")
    p.add_argument(
        "--held-out", type=count, default=512, help="held-out images for the loss, at most (default %(default)s)"
    )
    p.add_argument("--keep-at", type=integers, default=(), help="updates whose checkpoint is kept besides the last")
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
        "--priors", type=path, metavar="FILE",
        help="NAME.safetensors that holds the priors, or will; NAME.held-out.safetensors those of held-out images "
        "(default: beside --out)",
    )  # fmt: skip
    p.add_argument(
        "--cache", type=path, default=Path(".dipddpm/cache"), help="where each batch of priors is found again"
    )
    p.add_argument("--seed", type=seed, default=0)
    add_trackers(p)
    add_device(p)
    p.set_defaults(module="dipddpm.cli.train")


def _train_extractor(verbs: argparse._SubParsersAction) -> None:
    p = verbs.add_parser("train-extractor", help="train a feature extractor on classes; run again to go on")
    p.add_argument("--dataset", required=True, help="folder:PATH with one sub-folder per class")
    p.add_argument("--out", type=path, required=True, help="file to write, NAME.safetensors")
    p.add_argument("--epochs", type=count, default=10, help="passes over the images (default %(default)s)")
    p.add_argument("--batch", type=count, default=128, help="images per update (default %(default)s)")
    p.add_argument("--lr", type=rate, default=4e-3, help="peak learning rate (default %(default)s)")
    p.add_argument("--seed", type=seed, default=0)
    p.set_defaults(module="dipddpm.cli.train_extractor")


def _add_supervised(p: argparse.ArgumentParser, steps: int, lr: float) -> None:
    """What the trainings on degraded photographs have in common, with their own defaults."""
    p.add_argument("--dataset", required=True, help="what the denoiser was trained on: cifar10, folder:PATH, ...")
    p.add_argument("--data-root", type=path, help=DATA_ROOT)
    p.add_argument("--out", type=path, required=True, help="checkpoint to write, NAME.safetensors")
    p.add_argument("--task", type=names, default=(), help="degradations, with commas (default: all that leak nothing)")
    p.add_argument("--steps", type=count, default=steps, help="updates (default %(default)s)")
    p.add_argument("--batch", type=count, default=16, help="images per update, over all tasks (default %(default)s)")
    p.add_argument("--lr", type=rate, default=lr, help="peak learning rate (default %(default)s)")
    p.add_argument("--ema", type=decay, default=0.99, help="decay of the averaged weights (default %(default)s)")
    p.add_argument("--size", type=count, default=32, help="pixels (default %(default)s)")


def _train_warm_start(verbs: argparse._SubParsersAction) -> None:
    p = verbs.add_parser("train-warm-start", help="train the prior 'learned'; run again to go on where it stopped")
    _add_supervised(p, steps=2500, lr=3e-3)
    p.add_argument("--channels", type=integers, default=(48, 96), help="width per resolution (default 48,96)")
    p.add_argument("--blocks", type=count, default=1, help="residual blocks per resolution (default %(default)s)")
    p.add_argument(
        "--held-out", type=count, default=256, help="validation images for the calibration (default %(default)s)"
    )
    p.add_argument("--seed", type=seed, default=0)
    add_device(p)
    p.set_defaults(module="dipddpm.cli.train_warm_start")


def _train_educated(verbs: argparse._SubParsersAction) -> None:
    p = verbs.add_parser(
        "train-educated", help="train what the fitting method 'educated' begins with; run again to go on"
    )
    _add_supervised(p, steps=4000, lr=1e-2)
    p.add_argument("--width", type=count, default=32, help="of the network 'skip' (default %(default)s)")
    p.add_argument("--held-out", type=count, default=256, help="validation images for the PSNR (default %(default)s)")
    p.add_argument("--seed", type=seed, default=0)
    add_device(p)
    p.set_defaults(module="dipddpm.cli.train_educated")


# ---- Populations --------------------------------------------------------------------------------------------------


def _generate(verbs: argparse._SubParsersAction) -> None:
    p = verbs.add_parser("generate", help="sample a population into a folder; run again to go on, or for more")
    p.add_argument("--denoiser", default="unet", help=DENOISER)
    p.add_argument("--count", type=count, required=True, help="images in the folder when done")
    p.add_argument("--out", type=path, required=True, help="folder, of one configuration")
    p.add_argument("--nfe", type=count, default=50, help="network evaluations per image (default %(default)s)")
    p.add_argument("--sampler", choices=SAMPLERS, default="ddim", help="(default %(default)s)")
    p.add_argument(
        "--eta", type=float, default=0.0, help="of ddim (0 deterministic, 1 ancestral), renoise, daps (default 0)"
    )
    p.add_argument("--prior-from", metavar="DATASET", help="photographs to make priors of (default: start from noise)")
    p.add_argument("--data-root", type=path, help=DATA_ROOT)
    p.add_argument("--prior", default="dip", help="dip, blur, mean_colour, oracle (the photograph), ... (default dip)")
    p.add_argument("--t0", type=int, help="step that a prior enters at")
    p.add_argument("--dip-architecture", default="skip", help="(default %(default)s)")
    p.add_argument("--dip-iterations", type=count, default=100, help="(default %(default)s)")
    p.add_argument("--cache", type=path, default=Path(".dipddpm/cache"), help="where DIP fits are kept")
    p.add_argument("--batch", type=count, default=64, help="images sampled together (default %(default)s)")
    p.add_argument("--worker", type=share, default=(0, 1), metavar="I/N", help="process I of N that share the folder")
    p.add_argument("--seed", type=seed, default=0)
    add_precision(p)
    add_device(p)
    p.set_defaults(module="dipddpm.cli.generate")


def _score(verbs: argparse._SubParsersAction) -> None:
    p = verbs.add_parser("score", help="FID or FD, KID, precision, recall, ... of a folder that generate wrote")
    p.add_argument("folder", type=path, help="what `dipddpm generate --out` wrote")
    p.add_argument("--count", type=count, help="score only the first so many images (default: all)")
    p.add_argument("--reference", required=True, metavar="DATASET", help="real images: cifar10, folder:PATH, ...")
    p.add_argument("--data-root", type=path, help=DATA_ROOT)
    p.add_argument("--split", default="train", help="of the reference; train+validation is all of both (default train)")
    p.add_argument("--extractor", default="embedded64", help="embedded64, efficientnet-lite0, inception-v3[:WEIGHTS]")
    add_device(p)
    p.add_argument("--json", action="store_true", help="print the scores as JSON")
    p.set_defaults(module="dipddpm.cli.score")


# ---- Runs ---------------------------------------------------------------------------------------------------------


def _report(verbs: argparse._SubParsersAction) -> None:
    p = verbs.add_parser(
        "report", help="tables and figures of a run, or the public table of submissions",
        description="Of one RUN.json, draw tables and figures. Of files that `dipddpm submit` wrote, make the public "
        "table: what compares is merged, the rest is refused with the reason in one line.",
    )  # fmt: skip
    p.add_argument("files", type=path, nargs="+", metavar="FILE", help="RUN.json, or results/*.json")
    p.add_argument(
        "--out", type=path, metavar="DIR",
        help="folder, which then holds the report of this run and of no other (default reports/latest; of submissions "
        "reports/public)",
    )  # fmt: skip
    p.add_argument("--json", action="store_true", help="print what was written, and what was refused, as JSON")
    p.set_defaults(module="dipddpm.cli.report")


def _submit(verbs: argparse._SubParsersAction) -> None:
    p = verbs.add_parser(
        "submit", help="check a run in full, and write it as a file that a pull request can add to results/",
        description="Check that a run is whole, that its numbers agree with each other, and that it is what this "
        "version makes of its profile; then write it with what its report says of it. No file is ever overwritten.",
        epilog="exit code 2 if a run is refused, with every reason in a line. docs/submissions.md says more.",
    )  # fmt: skip
    p.add_argument("files", type=path, nargs="+", metavar="RUN.json", help="run files; with --check, submissions")
    p.add_argument("--by", default="", metavar="NAME", help="who wants to be named in the table (default: nobody)")
    p.add_argument("--out", type=path, default=Path("results"), metavar="DIR", help="folder (default %(default)s)")
    p.add_argument("--check", action="store_true", help="check files that submit wrote, and write nothing")
    p.add_argument("--json", action="store_true", help="print the outcome as JSON")
    p.set_defaults(module="dipddpm.cli.submit")


def _publish(verbs: argparse._SubParsersAction) -> None:
    p = verbs.add_parser(
        "publish", help="make the report of a run the one that is committed, in reports/reference",
        epilog="Pictures of restorations come from the report of this run, beside RUN.json or in reports/latest.",
    )  # fmt: skip
    p.add_argument("run", type=path, help="RUN.json of a whole run without failures")
    p.set_defaults(module="dipddpm.cli.publish")


def _compare(verbs: argparse._SubParsersAction) -> None:
    p = verbs.add_parser(
        "compare", help="compare a run with a baseline",
        epilog=f"exit codes:\n{table()}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("run", type=path, help="RUN.json")
    p.add_argument("baseline", type=path, help="baselines/NAME.json")
    p.add_argument("--dedicated", action="store_true", help="times are from a machine that does nothing else")
    p.add_argument(
        "--section", default="", metavar="NAME",
        help="section of the baseline, of another device too: what a GPU's numbers differ by from a CPU's, say",
    )  # fmt: skip
    p.add_argument("--json", action="store_true", help="print the outcome as JSON")
    p.set_defaults(module="dipddpm.cli.compare")


def _baseline(verbs: argparse._SubParsersAction) -> None:
    baseline = verbs.add_parser("baseline", help="make baselines").add_subparsers(required=True, metavar="VERB")
    p = baseline.add_parser("promote", help="make a run the baseline of CPUs, or of its kind of GPU")
    p.add_argument("run", type=path, help="RUN.json of a whole run without failures")
    p.add_argument("--reason", default="", help="what changed, and why it is right; the file keeps it")
    p.add_argument("--out", type=path, help="file (default baselines/PROFILE.json)")
    p.add_argument("--json", action="store_true", help="print what was written as JSON")
    p.set_defaults(module="dipddpm.cli.promote")


def _calibrate(verbs: argparse._SubParsersAction) -> None:
    p = verbs.add_parser(
        "calibrate", help="run the suites against themselves and write the noise floor into a baseline",
        epilog="Each run is kept under .dipddpm/calibration: the same command goes on where it was stopped.",
    )  # fmt: skip
    p.add_argument("baseline", type=path, help="baselines/NAME.json")
    p.add_argument("options", nargs="*", help="pytest options of the baseline, after -- (default: its profile)")
    p.add_argument("--only", action="append", choices=CALIBRATED, help="may be repeated (default: all, in this order)")
    p.add_argument("--repeats", type=count, default=20, help="runs for timing and hog (default %(default)s)")
    p.add_argument("--hogs", type=int, default=2, help="busy processes beside the runs of hog (default %(default)s)")
    add_device(p)
    p.set_defaults(module="dipddpm.cli.calibrate")


def _sweep(verbs: argparse._SubParsersAction) -> None:
    p = verbs.add_parser(
        "sweep", help="compute what `pytest bench` with the same options reports, on many workers; run again to go on",
        epilog="Afterwards `pytest bench` with the same options finds everything and reports. docs/sweep.md says more.",
    )  # fmt: skip
    p.add_argument("--profile", default="quick", help="how much to run (default %(default)s)")
    p.add_argument(
        "--axis", action="append", default=[], metavar="NAME=VALUE,VALUE", help="replace an axis of the profile"
    )
    p.add_argument("--dataset", default="photo-patches", help="photo-patches, cifar10 or folder:PATH")
    p.add_argument("--data-root", type=path, help=DATA_ROOT)
    p.add_argument("--denoiser", default="unet", help=DENOISER)
    p.add_argument("--extractor", default="embedded64", help="embedded64, efficientnet-lite0, inception-v3[:WEIGHTS]")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--cache", type=path, default=Path(".dipddpm/cache"), help="the store (default %(default)s)")
    p.add_argument("-k", dest="keyword", default="", metavar="EXPRESSION", help="only those points, as pytest takes it")
    p.add_argument("--engine", choices=("local", "ray"), default="local", help="this machine, or a Ray cluster")
    p.add_argument("--address", default="", help="of a Ray cluster: auto, or HOST:PORT (default: a new one here)")
    p.add_argument("--workers", type=count, help="processes of this machine (default: one for each core)")
    p.add_argument("--threads", type=count, default=1, help="of each worker (default %(default)s)")
    p.add_argument(
        "--task-timeout", type=seconds, default=LONGEST, metavar="SECONDS",
        help="what a task may take; then it fails, and the others go on. 0 for no limit (default: %(default)s)",
    )  # fmt: skip
    p.add_argument("--gpus-per-task", type=float, default=0.0, metavar="X", help="of Ray: 1, or 0.25 for four at once")
    p.add_argument(
        "--worker", type=share, default=(0, 1), metavar="I/N", help="only part I of N of the points, for array jobs"
    )
    p.add_argument(
        "--merge", type=path, action="append", default=[], metavar="DIR", help="take over the results of a store first"
    )
    p.add_argument("--dry-run", action="store_true", help="say what there is to do and what it takes, and do nothing")
    add_precision(p)
    add_device(p)
    p.set_defaults(module="dipddpm.cli.sweep")


# ---- Speed --------------------------------------------------------------------------------------------------------


def _profile(verbs: argparse._SubParsersAction) -> None:
    p = verbs.add_parser("profile", help="the dearest operators of a stage, and its rate against the machine's")
    p.add_argument("stage", metavar="STAGE", help=f"{', '.join(STAGES)}, dip-fit:ARCHITECTURE, or all")
    p.add_argument("--denoiser", default="unet", help=DENOISER)
    p.add_argument("--batch", type=int, help="images at once (default 16, on a GPU 256)")
    p.add_argument("--rows", type=count, default=12, help="operators to list (default %(default)s)")
    add_precision(p)
    add_device(p)
    p.add_argument("--json", action="store_true", help="print the numbers as JSON")
    p.set_defaults(module="dipddpm.cli.profile")


# ---- What is there ------------------------------------------------------------------------------------------------


def _doctor(verbs: argparse._SubParsersAction) -> None:
    p = verbs.add_parser(
        "doctor", help="what is missing or damaged here, and how to get it",
        epilog="exit code 2 if something has to be mended; what is only missing can be done without",
    )  # fmt: skip
    p.add_argument("--cache", type=path, default=Path(".dipddpm/cache"), help="store to read (default %(default)s)")
    p.add_argument("--data-root", type=path, help=DATA_ROOT)
    add_device(p)
    p.add_argument("--json", action="store_true", help="print what was found as JSON")
    p.set_defaults(module="dipddpm.cli.doctor")


def _cache(verbs: argparse._SubParsersAction) -> None:
    whats = verbs.add_parser("cache", help="size, prune or verify the store of results")
    whats = whats.add_subparsers(required=True, metavar="VERB", dest="what")
    for what, text in (
        ("size", "results and bytes, by function"),
        ("prune", "remove the results that were used longest ago, and nothing that is not a result"),
        ("verify", "read every result and name the damaged ones; exit code 2 if there are any"),
    ):
        p = whats.add_parser(what, help=text)
        p.add_argument("--cache", type=path, default=Path(".dipddpm/cache"), help="the store (default %(default)s)")
        if what == "prune":
            p.add_argument("--keep", type=size, required=True, help="bytes to keep at most: 500MB, 20GB, 0")
        p.add_argument("--json", action="store_true", help="print it as JSON")
        p.set_defaults(module="dipddpm.cli.cache")
