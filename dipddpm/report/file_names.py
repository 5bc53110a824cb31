"""Names of figure files, known without drawing any."""

from __future__ import annotations

import re


def file_name(name: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^\w.-]+", "-", name)
