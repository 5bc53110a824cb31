"""What a newcomer meets first: the benchmark, a picture of one's own, a variant of one's own, the data."""

from __future__ import annotations

import argparse
from pathlib import Path

from dipddpm.cli.options import add_device, count, durations, names, path, seed

ARCHITECTURE = "skip:32"
SIZE = 128
KINDS = ("dip", "fitting", "prior", "metric")


def add_bench(verbs: argparse._SubParsersAction) -> None:
    """``bench``, whose options are pytest's and those of the benchmark's plugins."""
    p = verbs.add_parser(
        "bench", help="run the benchmark, from any folder: tables and figures go to reports/latest",
        description="Run the suites, all or those named. A conftest.py in the current folder is loaded, so that it can "
        "register variants. Every option of pytest and of the benchmark is passed on: `dipddpm bench --list` says "
        "which suites there are, `pytest --help -p dipddpm.session.plugin -p dipddpm.session.suites` has the options.",
    )  # fmt: skip
    p.add_argument(
        "options", nargs=argparse.REMAINDER, metavar="[SUITE ...] [--list] [--profile NAME] [-k WORDS] ...",
        help="names of suites, then options of pytest",
    )  # fmt: skip
    p.set_defaults(module="dipddpm.cli.bench")


def _add_picture(p: argparse.ArgumentParser, out: str) -> None:
    p.add_argument("picture", type=path, help="a photograph, of any size and shape: its central square is taken")
    p.add_argument("--size", type=count, default=SIZE, help="pixels of a side, at most (default %(default)s)")
    p.add_argument("--mask", type=path, help="picture as large as the photograph: white is missing (task inpaint)")
    p.add_argument(
        "--architecture", default=ARCHITECTURE, help="of the DIP; NAME:32 is 32 channels wide (default %(default)s)"
    )
    p.add_argument("--fitting", default="plain", help="way of fitting the DIP (default %(default)s)")
    p.add_argument("--out", type=path, metavar="DIR", help=f"folder for what is written (default {out})")
    p.add_argument("--seed", type=seed, default=0, help="of every random draw (default %(default)s)")
    p.add_argument("--json", action="store_true", help="print the table as JSON")
    add_device(p)


def add_fit(verbs: argparse._SubParsersAction) -> None:
    """``fit``: a Deep Image Prior on a picture of one's own."""
    p = verbs.add_parser(
        "fit", help="fit a Deep Image Prior to a picture of your own, and look at it on the way",
        description="Fit an untrained network to one picture, or to what a degradation leaves of it, and write what "
        "it shows after each duration: a contact sheet, a table, each picture by itself.",
    )  # fmt: skip
    _add_picture(p, "NAME-fit")
    p.add_argument("--iterations", type=durations, default=(50, 400), help="durations to look at (default 50,400)")
    p.add_argument(
        "--task", default="", help="degradation that the network sees: inpaint, denoise_25, ... (default: the picture)"
    )
    p.add_argument("--gif", action="store_true", help="write a film of the fit, too")
    p.set_defaults(module="dipddpm.cli.fit")


def add_restore(verbs: argparse._SubParsersAction) -> None:
    """``restore``: several ways to restore one picture, side by side."""
    p = verbs.add_parser(
        "restore", help="restore a picture of your own from noise, from a DIP and from cheap rivals, side by side",
        description="Degrade a picture, restore it in several ways, and score each against the picture. A prior is "
        "shown alone, then as the start of the diffusion. One picture and one setting show how it works and prove "
        "nothing: `dipddpm bench` tunes every arm and tests it on photographs that it was not tuned on.",
    )  # fmt: skip
    _add_picture(p, "NAME-restored")
    p.add_argument("--task", default="inpaint", help="inpaint, super_resolution, denoise_25, ... (default inpaint)")
    p.add_argument(
        "--observed", action="store_true",
        help="the picture is damaged as it is where --mask is white: there is no truth to score against",
    )  # fmt: skip
    p.add_argument(
        "--arms", type=names, default=("noise", "biharmonic", "dip"),
        help="priors, with commas: noise, biharmonic, pnp, mmse, bicubic, ..., dip (default noise,biharmonic,dip)",
    )  # fmt: skip
    p.add_argument("--iterations", type=count, default=300, help="of the DIP (default %(default)s)")
    p.add_argument("--nfe", type=count, default=20, help="network evaluations of each diffusion (default %(default)s)")
    p.add_argument("--t0", type=count, default=100, help="step that a prior enters at (default %(default)s)")
    p.add_argument("--denoiser", default="unet", help="unet, unet:FILE, diffusers:FOLDER, edm:MODULE:FUNCTION, ...")
    p.set_defaults(module="dipddpm.cli.restore")


def add_new(verbs: argparse._SubParsersAction) -> None:
    """``new``: a file to begin a variant with."""
    p = verbs.add_parser(
        "new", help="write a file that a variant of your own begins with",
        description="Write NAME.py, a variant that works as it stands, with what its family asks of it in the "
        "comments; register it in a conftest.py, or by an entry point of your own package.",
    )  # fmt: skip
    p.add_argument("kind", choices=KINDS, help="a DIP architecture, a way of fitting, a prior or control, a metric")
    p.add_argument("name", help="lower case, as tables will show it")
    p.add_argument("--out", type=path, default=Path(), metavar="DIR", help="folder (default: the current one)")
    p.set_defaults(module="dipddpm.cli.new")


def add_data(verbs: argparse._SubParsersAction) -> None:
    """``data``: what data sets there are, and whether one is in order."""
    p = verbs.add_parser(
        "data", help="the data sets there are; with a name, how many images its splits have",
        description="Without a name, list the data sets with licence and source. With one, read it as a run would, "
        "and say what each split holds.",
    )  # fmt: skip
    p.add_argument("name", nargs="?", default="", help="photo-patches, cifar10, folder:PATH")
    p.add_argument("--data-root", type=path, help="where downloaded data sets lie")
    p.add_argument("--size", type=count, default=32, help="pixels of the images (default %(default)s)")
    p.add_argument("--json", action="store_true", help="print it as JSON")
    p.set_defaults(module="dipddpm.cli.data")
