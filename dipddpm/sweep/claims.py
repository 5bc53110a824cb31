"""Who computes what, said by files beside the store: so that sweeps on one store do not do the same work twice.

A claim only saves double work; no result depends on it. Results are found by the content of their call, and are written
whole or not at all: if two sweeps compute the same result, both are right.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from pathlib import Path

FRESH = 120.0  # seconds that a claim holds after it was renewed
RENEW = 20.0


class Claims:
    """The claims of one sweep on a store; they end with it, or ``FRESH`` seconds after it was killed."""

    def __init__(self, store: Path):
        self.folder = store / "claims"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._mine: dict[str, Path] = {}
        self._renewed = time.monotonic()
        self._clock = self.folder / f".{platform.node()}-{os.getpid()}"

    def take(self, key: str) -> bool:
        """Claim a result; false where another sweep has claimed it and lives."""
        file = self.folder / key
        if key in self._mine:
            return True
        try:
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            if self._is_fresh(file):
                return False
            with contextlib.suppress(OSError):
                os.utime(file)
        self._mine[key] = file
        return True

    def drop(self, key: str) -> None:
        """The result is there, or is given up."""
        if file := self._mine.pop(key, None):
            file.unlink(missing_ok=True)

    def renew(self) -> None:
        """Say that this sweep lives; to be called often."""
        if time.monotonic() - self._renewed > RENEW:
            self._renewed = time.monotonic()
            for file in self._mine.values():
                with contextlib.suppress(OSError):
                    file.touch()

    def close(self) -> None:
        """Drop all claims."""
        for key in list(self._mine):
            self.drop(key)
        self._clock.unlink(missing_ok=True)

    def _is_fresh(self, file: Path) -> bool:
        """By the clock of the file system, which the hosts that share it have in common."""
        try:
            self._clock.touch()
            return self._clock.stat().st_mtime - file.stat().st_mtime < FRESH
        except OSError:  # it was dropped just now
            return False
