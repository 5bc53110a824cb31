"""What the C library does with memory that is freed, as part of the measuring instrument.

By default glibc gives large blocks back to the system at once, and every iteration takes page faults for the same
memory again: in a batch of DIP fits a quarter of the time, in a loop over small tensors next to none, and anything
between as the heap happens to lie. A process that measures keeps what it frees; :class:`~.memory.PeakMemory` gives it
back where a stage begins.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")
_kept = False


def keep_freed() -> None:
    """From now on this process keeps memory that it frees. For programs, not for libraries: it is the whole process's.

    Nothing happens without glibc, or where the environment has chosen (see mallopt(3)).
    """
    global _kept
    if not _kept and sys.platform == "linux" and not any(name in os.environ for name in CHOSEN):
        with contextlib.suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            _kept = bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))


def give_back() -> None:
    """Return what is free to the system, where the C library can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def described() -> str:
    """For the record of a machine: ``keeps freed memory``, what the environment chose, or ``as the system has it``."""
    chosen = [f"{name}={os.environ[name]}" for name in CHOSEN if name in os.environ]
    return "keeps freed memory" if _kept else " ".join(chosen) or "as the system has it"
