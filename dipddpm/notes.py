"""What the user should know although it is no error: one line on stderr."""

from __future__ import annotations

import os
import sys
from functools import cache

from dipddpm.measure.escape import visible


@cache
def say_once(text: str) -> None:
    """Print a line on stderr, the first time in this process; of several processes of a training the first says it."""
    if os.environ.get("RANK", "0") == "0":
        print(f"dipddpm: {visible(text)}", file=sys.stderr)
