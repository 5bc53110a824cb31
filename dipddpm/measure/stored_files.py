"""The files of a store: read by their checksums, listed with when they were last used, verified and pruned."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipddpm.measure.files import STALE, tidy
from dipddpm.measure.strict_json import strict_json

# <function>/<key>.json, the key as measure.content.digest makes it, and the arrays beside it.
_FUNCTION, _KEY = re.compile(r"[^\W\d]\w*"), re.compile(r"[0-9a-f]{20}")
_BEGINS = b'{\n "checksum": "'


@dataclass(frozen=True)
class StoredFile:
    """A result on disk.

    Attributes:
        base: its path without an ending.
        size: bytes of both files.
        used: when it was last used, in seconds since 1970.
    """

    base: Path
    size: int
    used: float

    @property
    def name(self) -> str:
        """``function/key``."""
        return f"{self.base.parent.name}/{self.base.name}"


def checksum(content: Mapping) -> str:
    """Of the content of a JSON file."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def written(content: Mapping) -> str:
    """The JSON file of a result."""
    return json.dumps({"checksum": checksum(content), "content": content}, indent=1, allow_nan=False)


def read_checked(base: Path) -> tuple[dict[str, Any], bytes]:
    """The content of a result's JSON file, and the bytes of its arrays, b"" without any.

    Raises:
        OSError: a file is not there.
        ValueError, LookupError, TypeError, AttributeError: it is not what was written.
    """
    file, arrays_file = base.with_suffix(".json"), base.with_suffix(".safetensors")
    stored = strict_json(file.read_bytes())
    content = stored["content"]
    if stored["checksum"] != checksum(content):
        raise ValueError(f"{file}: another checksum")
    if not content["arrays"]:
        return content, b""
    arrays = arrays_file.read_bytes()
    if hashlib.sha256(arrays).hexdigest() != content["arrays"]:
        raise ValueError(f"{arrays_file}: another checksum")
    return content, arrays


def stored_files(root: Path) -> Iterator[StoredFile]:
    """Every result under the folder of a store, in order of name. What a store did not write is left out: files of
    other names, and JSON files that do not begin as those of a store."""
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if not folder.is_dir() or folder.is_symlink() or not _FUNCTION.fullmatch(folder.name):
            continue
        for file in sorted(folder.glob("*.json")):
            if _KEY.fullmatch(file.stem) and _is_ours(file):
                arrays, found = file.with_suffix(".safetensors"), file.stat()
                size = found.st_size + (arrays.stat().st_size if arrays.is_file() else 0)
                yield StoredFile(file.with_suffix(""), size, found.st_mtime)


def damaged(root: Path, seen: Callable[[], object] = lambda: None) -> Iterator[tuple[StoredFile, str]]:
    """The results that are not what was written, each with what is wrong. All files are read; ``seen`` is called for
    each."""
    for stored in stored_files(root):
        seen()
        try:
            read_checked(stored.base)
        except FileNotFoundError:
            yield stored, "its arrays are missing"
        except OSError as error:
            yield stored, f"cannot be read ({error.strerror})"
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            yield stored, "is not what was written"


def prune(root: Path, keep: int) -> tuple[int, int]:
    """Remove the results that were used longest ago, until those left have ``keep`` bytes at most, and what killed
    writes left behind; how many results went, and their bytes."""
    every = sorted(stored_files(root), key=lambda stored: stored.used)
    total, gone, freed = sum(stored.size for stored in every), 0, 0
    for stored in every:
        if total - freed <= keep:
            break
        # The JSON file first: a result without it does not exist.
        for path in (stored.base.with_suffix(".json"), stored.base.with_suffix(".safetensors")):
            path.unlink(missing_ok=True)
        gone, freed = gone + 1, freed + stored.size
    tidy(root)
    for orphan in _orphans(root):
        orphan.unlink(missing_ok=True)
    return gone, freed


def _orphans(root: Path) -> Iterator[Path]:
    """Arrays whose JSON file a kill kept from being written, a day ago or longer."""
    for path in root.glob("*/*.safetensors") if root.is_dir() else ():
        if _KEY.fullmatch(path.stem) and not path.with_suffix(".json").exists():
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > STALE:
                    yield path


def _is_ours(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return not file.is_symlink() and opened.read(len(_BEGINS)) == _BEGINS
    except OSError:
        return False
