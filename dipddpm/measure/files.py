"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

PARTIAL = ".partial"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place in one step.

    A kill at any moment leaves the old file, or the new one, never a part. Several processes may write files of one
    folder, or the same file, at once: each has a temporary file of its own. A kill may leave that one behind, hidden
    and under a name that no result has: see :func:`is_partial`. It has the suffix of ``path``, because some writers
    choose the format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=f"{PARTIAL}{path.suffix}")
    os.close(handle)
    partial = Path(name)
    try:
        write(partial)
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def is_partial(path: Path) -> bool:
    """Whether this is a temporary file of :func:`write_atomically`: being written, or left behind by a kill."""
    return path.name.startswith(".") and PARTIAL in path.name


def write_text(path: Path, text: str) -> None:
    """``text`` to ``path`` in UTF-8, atomically."""
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    """``value`` to ``path`` as JSON, atomically; NaN is refused (it is no JSON, and no measurement)."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False))


def readable_json(value: object, depth: int = 0, open_to: int = 2) -> str:
    """JSON for people who compare two versions: what holds other objects, or lies no deeper than ``open_to``, is spread
    over lines, everything else stays on one. NaN is refused."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    nested = any(isinstance(v, dict) for v in inner)
    spread = depth <= open_to if isinstance(value, dict) else False
    if not inner or not (spread or (nested and depth <= open_to + 1)):
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    pad = "\n" + " " * (depth + 1)
    items = [readable_json(v, depth + 1, open_to) for v in inner]
    if isinstance(value, dict):
        named = [f"{json.dumps(str(k), ensure_ascii=False)}: {item}" for k, item in zip(value, items, strict=True)]
        return "{" + ",".join(pad + item for item in named) + pad[:-1] + "}"
    return "[" + ",".join(pad + item for item in items) + pad[:-1] + "]"
