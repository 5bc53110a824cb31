"""The command ``dipddpm``: parses, calls a verb, prints."""

from __future__ import annotations

import argparse
import os
import sys

from dipddpm import __version__
from dipddpm.cli import generate, profile, runs, train
from dipddpm.device import open_device
from dipddpm.errors import InputError
from dipddpm.measure.gate.baseline import NoBaseline
from dipddpm.measure.gate.outcomes import NO_BASELINE
from dipddpm.measure.instruments.allocator import keep_freed
from dipddpm.measure.record import MeasureError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="dipddpm", description=__doc__)
    top.add_argument("--version", action="version", version=__version__)
    verbs = top.add_subparsers(required=True, metavar="VERB")
    for family in (train, generate, runs, profile):
        family.add(verbs)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit code. Bad input is one line on stderr and exit code 2."""
    args = parser().parse_args(argv)
    keep_freed()
    try:
        if "device" in args:
            args.device = str(open_device(args.device))
        return args.verb(args) or 0
    except NoBaseline as error:
        print(f"dipddpm: {error}", file=sys.stderr)
        return NO_BASELINE
    except (InputError, MeasureError) as error:
        rank = os.environ.get("RANK", "0")  # of several processes any may fail, and none knows whether others do
        print(f"dipddpm: {error}" if rank == "0" else f"rank {rank}: dipddpm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dipddpm: stopped; the same command goes on from the last saved state", file=sys.stderr)
        return 130
