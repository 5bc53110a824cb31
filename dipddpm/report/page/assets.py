"""Files of this package that a page is made of besides Python: its template, its style, and the scripts of others."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js", "jquery.min.js", "dataTables.min.js")
TEMPLATES = ("base.html", "page.html", "parts.html", "public.html", "page.css", "page.js")


def vendored(name: str) -> str:
    """A script of others, without the line that points at its source map: a browser would ask for that file."""
    text = read(f"vendor/{name}")
    return "\n".join(line for line in text.splitlines() if not line.startswith("//# sourceMappingURL="))


@cache
def read(name: str) -> str:
    """A file of this package."""
    return (HERE / name).read_text(encoding="utf-8")


@cache
def assets_digest() -> str:
    """A hash of all of them."""
    names = [*(f"vendor/{name}" for name in SCRIPTS), *(f"template/{name}" for name in TEMPLATES)]
    return hashlib.sha256("".join(map(read, names)).encode()).hexdigest()
