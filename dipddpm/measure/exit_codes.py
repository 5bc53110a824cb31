"""The exit codes of every command and of every session: each way to end has one code."""

from __future__ import annotations

HOLDS, REGRESSION, BAD_INPUT, NO_BASELINE, UNDECIDED, NOTHING = range(6)
FAILED, DIVERGED = 6, 7
INTERNAL, CANNOT_WRITE = 70, 74  # as sysexits.h has them
STOPPED, PIPE_CLOSED = 130, 141  # 128 and the number of the signal, as shells have it

MEANINGS = {
    HOLDS: "done; with a baseline: everything holds",
    REGRESSION: "a regression: something is worse than the baseline, or no longer there",
    BAD_INPUT: "bad input, said before any work: an option, a file that is damaged, a folder that cannot be written",
    NO_BASELINE: "no baseline, or none for this device",
    UNDECIDED: "the comparison with the baseline is undecided: incomparable, or the machine was too busy",
    NOTHING: "nothing was measured",
    FAILED: "cells failed: the report names each with its reason, everything else is there",
    DIVERGED: "every cell ran, and some diverged: the report counts their images, and none of them competes",
    INTERNAL: "an error of dipddpm itself; its traceback is on stderr",
    CANNOT_WRITE: "a file could not be written amid the work (a full disk): what was finished before is kept",
    STOPPED: "stopped by Ctrl-C; the same command goes on",
    PIPE_CLOSED: "whoever read the output closed it",
}


def table() -> str:
    """All codes with their meanings, a line each."""
    return "\n".join(f"{code:>5}  {meaning}" for code, meaning in MEANINGS.items())
