"""How long a cell, or a task of a sweep, may take, so that one that hangs is lost without the others."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 6 * 3600  # seconds; minutes are usual, and a limit must never cut what would have come to its end


class TookTooLong(BaseException):
    """Work has reached its time limit. It is no subclass of Exception, because code that catches those (in a plug-in,
    for example) would go on."""


def seconds(text: str) -> float:
    """A limit as an option has it, from 0, which stands for none.

    Raises:
        ValueError: it is no such number.
    """
    value = float(text)
    if not 0 <= value < 1e9:
        raise ValueError(text)
    return value


@contextmanager
def limited(limit: float) -> Iterator[None]:
    """Raise TookTooLong in the main thread after ``limit`` seconds, unless it is 0. Code in C that never comes back is
    beyond it, as is what runs in another thread."""
    if not limit or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(signal_number: int, frame: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
