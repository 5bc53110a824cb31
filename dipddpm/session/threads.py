"""With how many threads the results of a session were computed: sums are rounded differently by another number.

So the number of threads is part of the key of a stored result. If the workers of a sweep had one thread each, for
example, then the session that reports their results has to ask for results of one thread. The store remembers with how
many threads a sweep with the same options filled it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dipddpm.device import open_device
from dipddpm.measure.files import write_json

FILE = "threads.json"


def remember_threads(option: argparse.Namespace, threads: int) -> None:
    """Let sessions with these options, on this store, compute with so many threads."""
    write_json(Path(option.cache) / FILE, _read(option.cache) | {_named(option): threads})


def remembered_threads(option: argparse.Namespace) -> int | None:
    """What the last sweep with these options computed with; None where there was none."""
    found = _read(option.cache).get(_named(option))
    return found if isinstance(found, int) and found > 0 else None


def _named(option: argparse.Namespace) -> str:
    """The options that name the experiments, as one text."""
    device = open_device(option.device).type
    parts = [option.profile, *sorted(option.axis), option.dataset, option.denoiser, option.precision, option.extractor]
    return " ".join(map(str, [*parts, "compiled" * option.compile, f"seed {option.seed}", device]))


def _read(cache: Path) -> dict[str, object]:
    try:
        found = json.loads((Path(cache) / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
