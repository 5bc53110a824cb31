"""The command ``dipddpm``: parses, calls a verb, prints.

``command_line`` describes every verb without importing the package, and each verb has a module of its own here, which
is imported when that verb is asked for: ``dipddpm --help`` takes a tenth of a second, torch and the rest seven seconds.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from io import TextIOWrapper

from dipddpm.cli.checks import check_used
from dipddpm.cli.command_line import parser
from dipddpm.errors import InputError
from dipddpm.measure.escape import visible
from dipddpm.measure.exit_codes import BAD_INPUT, CANNOT_WRITE, INTERNAL, PIPE_CLOSED, STOPPED
from dipddpm.measure.files import CannotWrite
from dipddpm.measure.instruments.allocator import keep_freed
from dipddpm.measure.record import MeasureError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit code, one of ``measure.exit_codes``. Bad input is one line on stderr and code 2.

    The module of a verb has ``run(args)``, which returns an exit code or None for 0, and may have ``EXIT_CODES``, the
    codes of its own exceptions by their class.
    """
    print_in_any_locale()
    args = parser().parse_args(_passing_on(sys.argv[1:] if argv is None else argv))
    keep_freed()
    exit_codes: Mapping[type[Exception], int] = {}
    try:
        check_used(args, parser(), argv)
        verb = import_module(args.module)
        exit_codes = getattr(verb, "EXIT_CODES", {})
        if "device" in args:
            from dipddpm.device import open_device  # here: it imports torch

            args.device = str(open_device(args.device))
        code = verb.run(args) or 0
        sys.stdout.flush()  # here and not at the exit of Python, where a full disk would be no error
        return code
    except (InputError, MeasureError) as error:
        _say(str(error))
        return exit_codes.get(type(error), BAD_INPUT)
    except CannotWrite as error:
        _say(f"{error}; what was finished before is kept, and the same command goes on from there")
        return CANNOT_WRITE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain at its exit
        return PIPE_CLOSED
    except KeyboardInterrupt:
        print("dipddpm: stopped; the same command goes on from the last saved state", file=sys.stderr)
        return STOPPED
    except Exception as error:
        traceback.print_exc()
        full = isinstance(error, OSError) and error.errno in NO_ROOM
        _say("the disk is full" if full else "this is an error of dipddpm and not of its input: please report it")
        return CANNOT_WRITE if full else INTERNAL


def _say(text: str) -> None:
    """One line on stderr. Any one of several processes may fail, and none knows whether the others do: each says its
    own."""
    rank, text = os.environ.get("RANK", "0"), visible(text)
    print(f"dipddpm: {text}" if rank == "0" else f"rank {rank}: dipddpm: {text}", file=sys.stderr)


def _passing_on(argv: list[str]) -> list[str]:
    """The arguments, where a verb that passes its options on to another program gets them unread.

    argparse would read those that it knows, and refuse the rest.
    """
    passes_on = argv[:1] == ["bench"] and not {"-h", "--help"} & set(argv[1:])
    return [argv[0], "--", *argv[1:]] if passes_on else argv


def print_in_any_locale() -> None:
    """From now on a character that the locale cannot print is printed as its escape, and no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
