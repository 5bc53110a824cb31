"""The checksum of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path


def checksum(file: Path) -> str:
    """SHA-256 of its bytes, in hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
