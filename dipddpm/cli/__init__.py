"""The command ``dipddpm``: parses, calls a verb, prints.

``command_line`` describes every verb without importing the package, and each verb has a module of its own here, which
is imported when that verb is asked for: ``dipddpm --help`` takes a tenth of a second, torch and the rest seven seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from io import TextIOWrapper

from dipddpm.cli.command_line import parser
from dipddpm.errors import InputError
from dipddpm.measure.instruments.allocator import keep_freed
from dipddpm.measure.record import MeasureError


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit code. Bad input is one line on stderr and exit code 2.

    The module of a verb has ``run(args)``, which returns an exit code or None for 0, and may have ``EXIT_CODES``, the
    codes of its own exceptions by their class.
    """
    print_in_any_locale()
    args = parser().parse_args(argv)
    keep_freed()
    exit_codes: Mapping[type[Exception], int] = {}
    try:
        verb = import_module(args.module)
        exit_codes = getattr(verb, "EXIT_CODES", {})
        if "device" in args:
            from dipddpm.device import open_device  # here: it imports torch

            args.device = str(open_device(args.device))
        return verb.run(args) or 0
    except (InputError, MeasureError) as error:
        # Any one of several processes may fail, and none of them knows whether the others do: each says its own.
        rank = os.environ.get("RANK", "0")
        print(f"dipddpm: {error}" if rank == "0" else f"rank {rank}: dipddpm: {error}", file=sys.stderr)
        return exit_codes.get(type(error), 2)
    except KeyboardInterrupt:
        print("dipddpm: stopped; the same command goes on from the last saved state", file=sys.stderr)
        return 130


def print_in_any_locale() -> None:
    """From now on a character that the locale cannot print is printed as its escape, and no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
