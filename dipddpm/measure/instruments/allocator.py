"""What the C library does with freed memory, which is part of the measuring instrument.

By default glibc returns large blocks to the system at once, and every iteration then takes page faults to get the same
memory again. This cost a quarter of the time where a batch of networks was fitted, next to nothing in a loop over small
tensors, and anything in between depending on how the heap was laid out. A process that measures therefore keeps what it
frees; :class:`~.memory.PeakMemory` returns it to the system when a stage begins.
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
    """Make this process keep the memory that it frees.

    To be called by programs, not by libraries, since it changes the whole process. It does nothing without glibc, or
    where an environment variable already says what to do (see mallopt(3)).
    """
    global _kept
    if not _kept and sys.platform == "linux" and not any(name in os.environ for name in CHOSEN):
        with contextlib.suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            _kept = bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))


def give_back() -> None:
    """Return free memory to the system, where the C library can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def described() -> str:
    """For the record of a machine: ``keeps freed memory``, what the environment chose, or ``as the system has it``."""
    chosen = [f"{name}={os.environ[name]}" for name in CHOSEN if name in os.environ]
    return "keeps freed memory" if _kept else " ".join(chosen) or "as the system has it"
