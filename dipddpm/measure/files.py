"""Files that are there whole or not at all, and names of files that come from other files."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PARTIAL = ".partial"
STALE = 24 * 3600.0  # seconds after which a temporary file is one that a kill left behind: a write takes seconds
_PARTIAL_NAME = re.compile(r"\..*\.[a-z0-9_]{8}\.partial(\.[^.]*)?", re.DOTALL)  # as tempfile.mkstemp makes them below


class CannotWrite(OSError):
    """A file could not be written: a full disk, a folder without permission. What stood there before is as it was."""

    def __str__(self) -> str:
        return str(self.strerror)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place in one step.

    A kill at any moment leaves the old file, or the new one, never a part. Several processes may write files of one
    folder, or the same file, at once: each has a temporary file of its own. A kill may leave that one behind, hidden
    and under a name that no result has: see :func:`is_partial`. It has the suffix of ``path``, because some writers
    choose the format by it.

    Raises:
        CannotWrite: the system refuses to make, to fill or to move the file.
    """
    try:
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
    except OSError as error:
        raise CannotWrite(error.errno, f"{path}: cannot be written ({error.strerror or error})") from error


def is_partial(path: Path) -> bool:
    """Whether this is a temporary file of :func:`write_atomically`: being written, or left behind by a kill."""
    return _PARTIAL_NAME.fullmatch(path.name) is not None


def stale_partials(folder: Path, older_than: float = STALE) -> Iterator[Path]:
    """Temporary files in a folder, and in those within it, that nobody writes any more.

    Args:
        older_than: seconds since they were last written to.
    """
    now = time.time()
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names if PARTIAL in name):
            try:
                if is_partial(path) and now - path.lstat().st_mtime > older_than:
                    yield path
            except FileNotFoundError:  # it has just been put in place, or another process tidies too
                continue


def tidy(folder: Path, older_than: float = STALE) -> int:
    """Remove what :func:`stale_partials` finds; how many there were."""
    removed = 0
    for path in list(stale_partials(folder, older_than)):
        try:
            path.unlink()
        except OSError:  # gone already, or not ours to remove
            continue
        removed += 1
    return removed


def check_writable(folder: Path) -> None:
    """Make a folder, write to it and remove that again: said before hours of work, and not after.

    Raises:
        CannotWrite: nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as tried:
            tried.write(bytes(4096))
            tried.flush()
    except OSError as error:
        raise CannotWrite(error.errno, f"{folder}: cannot be written to ({error.strerror or error})") from error


def inside(folder: Path, name: object) -> Path:
    """The file ``name`` directly in ``folder``. Every name that was read from a file goes through here before it
    becomes a path, since whoever wrote that file must not choose what is written or removed elsewhere.

    Raises:
        ValueError: ``name`` is no plain name of a file: no text, empty, ``.`` or ``..``, too long, with a separator of
            any system, or with a character that names a drive or a stream or cannot be printed.
    """
    plain = isinstance(name, str) and name not in ("", ".", "..") and len(name.encode("utf-8", "replace")) <= 255
    if not plain or not isinstance(name, str) or any(c in "/\\:" or ord(c) < 32 or c == "\x7f" for c in name):
        raise ValueError(f"{name!r:.80} is no name of a file in {folder}")
    return folder / name


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
