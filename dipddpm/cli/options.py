"""Options that several verbs have, and what their values may be."""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import sys
from pathlib import Path

from dipddpm.errors import InputError
from dipddpm.measure.files import CannotWrite, check_writable
from dipddpm.paths import given_path, shown
from dipddpm.trackers import trackers

LARGEST_SEED = 2**62  # repeats add to it, and torch takes 63 bits
MOST = 10**9
PRECISIONS = ("fp32", "tf32", "bf16")


def add_device(p: argparse.ArgumentParser) -> None:
    """``--device``; ``main`` resolves it."""
    p.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")


def add_precision(p: argparse.ArgumentParser) -> None:
    """``--precision`` and ``--compile`` of a denoiser; ``open_denoiser`` knows the default of the device."""
    p.add_argument(
        "--precision", choices=PRECISIONS, default="",
        help="of the denoiser's products: fp32, tf32 (CUDA) or bf16 (default tf32 on CUDA, else fp32)",
    )  # fmt: skip
    p.add_argument("--compile", action="store_true", help="the denoiser through torch.compile")


def add_trackers(p: argparse.ArgumentParser) -> None:
    """An option for each tracker; none of their clients is imported."""
    for name, kind in trackers().items():
        p.add_argument(f"--{name}", metavar=kind.takes, help=kind.meaning)


def provenance(data: str) -> dict[str, object]:
    """What every record of a training says of how it came about.

    Args:
        data: label of the data set.
    """
    import torch  # imported here: help needs no torch

    return {"command": "dipddpm " + shlex.join(sys.argv[1:]), "data": data, "torch": torch.__version__}


def path(text: str) -> Path:
    """A file or folder; ``~`` is the home folder also where no shell replaces it, as in ``--out=~/x``."""
    try:
        return given_path(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def count(text: str) -> int:
    """A whole number from 1; the largest is far beyond what any verb can do."""
    if not text.isdecimal() or len(text) > len(str(MOST)) or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"write a whole number from 1, not {text!r:.40}")
    return int(text)


def rate(text: str) -> float:
    """A number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"write a number above 0, not {text!r}")
    return value


def decay(text: str) -> float:
    """A number from 0, below 1."""
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"write a number from 0 that is below 1, not {text!r}")
    return value


def seed(text: str) -> int:
    """A whole number that generators of random numbers take."""
    try:
        value = int(text)
    except ValueError:
        value = LARGEST_SEED + 1
    if not 0 <= value <= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"write a whole number from 0 to {LARGEST_SEED}, not {text!r:.40}")
    return value


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def integers(text: str) -> tuple[int, ...]:
    """Whole numbers from 1 with commas between them."""
    return tuple(count(part) for part in text.split(","))


def durations(text: str) -> tuple[int, ...]:
    """Whole numbers from 0 with commas between them."""
    return tuple(0 if part.strip() == "0" else count(part) for part in text.split(","))


def share(text: str) -> tuple[int, int]:
    """I/N: part I of N, counted from 0."""
    try:
        i, n = map(int, text.split("/"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"write I/N, such as 0/4, not {text!r}") from error
    return i, n


def size(text: str) -> int:
    """A number of bytes: ``20GB``, ``1.5 MB``, ``0``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(|[kMGT]?B)", text.strip(), re.IGNORECASE | re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"write a number of bytes such as 500MB or 20GB, not {text!r}")
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper().rstrip("B") or " "))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def writable(file: Path) -> Path:
    """A file that will be written, in a folder that is made where there is none.

    Raises:
        InputError: the file cannot be written. This is said before hours of work, and not after.
    """
    if file.is_dir() or (file.exists() and not (file.is_file() and os.access(file, os.W_OK))):
        raise InputError(f"{shown(file)}: cannot be written: choose another --out")
    writable_folder(file.parent, "--out")
    return file


def writable_folder(folder: Path, option: str) -> Path:
    """A folder that will be written to; it is made where there is none.

    Raises:
        InputError: nothing can be written there; the message names the option that chose it.
    """
    try:
        check_writable(folder)
    except CannotWrite as error:
        raise InputError(f"{shown(str(error))}: choose another {option}") from error
    return folder
