"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place in one step.

    A kill at any moment leaves the old file, or the new one, never a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        write(partial)
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """``text`` to ``path``, atomically."""
    write_atomically(path, lambda partial: partial.write_text(text))


def write_json(path: Path, value: object) -> None:
    """``value`` to ``path`` as JSON, atomically; NaN is refused (it is no JSON, and no measurement)."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False))
