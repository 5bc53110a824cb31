"""``dipddpm doctor``: what is missing or damaged on this machine, and how to get it."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import psutil
from tqdm import tqdm

from dipddpm.cli.cache import readable
from dipddpm.data import datasets, open_dataset
from dipddpm.denoisers import open_denoiser
from dipddpm.denoisers.unet import SHIPPED, WEAKER
from dipddpm.errors import InputError
from dipddpm.extractors import DEFAULT, extractors, open_extractor
from dipddpm.extractors.inception import URL_INCEPTION_V3, Inception, cached
from dipddpm.measure.exit_codes import BAD_INPUT
from dipddpm.measure.files import CannotWrite, check_writable, stale_partials
from dipddpm.measure.instruments.machine import machine
from dipddpm.measure.stored_files import damaged, stored_files
from dipddpm.paths import shown
from dipddpm.progress import each

ROOM = 2e9  # bytes of memory and of disk that profile `smoke` wants
Found = tuple[Literal["ok", "missing", "bad"], str]
"""``missing`` is what one can do without; ``bad`` has to be mended."""


@dataclass(frozen=True)
class Finding:
    """What was looked at, and what was found: the text of what is not ok says how to mend it."""

    what: str
    outcome: Literal["ok", "missing", "bad"]
    text: str


def run(args: argparse.Namespace) -> int:
    """``dipddpm doctor``; exit code 2 if something has to be mended."""
    looked = looks(args.device, args.cache, args.data_root)
    found = []
    for finding in each(findings(looked), len(looked), "looking"):
        found.append(finding)
        if not args.json:
            tqdm.write(f"{finding.outcome:>8}  {finding.what}: {finding.text}", file=sys.stdout)
            sys.stdout.flush()
    if args.json:
        print(json.dumps([asdict(finding) for finding in found], indent=1))
    return BAD_INPUT if any(finding.outcome == "bad" for finding in found) else 0


Looks = list[tuple[str, Callable[[], Found]]]
"""What is looked at, and how."""


def looks(device: str, cache: Path, data_root: Path | None) -> Looks:
    """Everything that a run needs, what some runs need, and what the store holds."""
    return [
        ("machine", lambda: _machine(device)),
        ("memory", lambda: _room(psutil.virtual_memory().available, "close other programs")),
        ("disk", lambda: _disk(cache)),
        *((f"denoiser unet:{name}", partial(_opens, open_denoiser, f"unet:{name}")) for name in (SHIPPED, *WEAKER)),
        *((f"extractor {name}", partial(_extractor, name)) for name in extractors()),
        *(
            (f"data {name}", partial(_data, name, data_root))
            for name, kind in datasets().items()
            if not kind.takes_location
        ),
        ("store", lambda: _store(cache)),
    ]


def findings(listed: Looks) -> Iterator[Finding]:
    """What is found, one after the other."""
    for what, look in listed:
        try:
            yield Finding(what, *look())
        except InputError as error:
            yield Finding(what, "bad", str(error))


def _machine(device: str) -> Found:
    m = machine()
    return "ok", f"{device}; {m['gpu'] or m['cpu']}, {m['threads']} threads, Python {m['python']}, torch {m['torch']}"


def _room(free: float, mend: str) -> Found:
    if free >= ROOM:
        return "ok", f"{readable(free)} free"
    return "bad", f"{readable(free)} free, {readable(ROOM)} are needed: {mend}"


def _disk(cache: Path) -> Found:
    try:
        check_writable(cache)
    except CannotWrite as error:
        return "bad", f"{error}: choose another --cache"
    return _room(shutil.disk_usage(cache).free, "`dipddpm cache prune` makes room, or choose another --cache")


def _opens(open_one: Callable[[str], object], name: str) -> Found:
    open_one(name)
    return "ok", "opens, and is what its record says"


def _extractor(name: str) -> Found:
    if name == Inception.name and cached() is None:
        return "missing", f"its weights are downloaded on first use: {URL_INCEPTION_V3}"
    try:
        return _opens(open_extractor, name)
    except InputError as error:
        if name == DEFAULT:
            raise
        return "missing", str(error)


def _data(name: str, root: Path | None) -> Found:
    kind = datasets()[name]
    needs = getattr(kind, "needs", None)
    if needs is not None and not needs(root).exists():
        return "missing", f"not in {shown(needs(root))}: {kind.how_to_get}"
    dataset = open_dataset(name, root)
    return "ok", f"{len(dataset.images('train'))} training images"


def _store(cache: Path) -> Found:
    count, bad = sum(1 for _ in stored_files(cache)), list(damaged(cache))
    if bad:
        names = ", ".join(f"{stored.name} {why}" for stored, why in bad[:5]) + (", ..." if len(bad) > 5 else "")
        return "bad", f"{len(bad)} of {count} results are damaged, and are computed again when used: {names}"
    stale = sum(1 for _ in stale_partials(cache))
    left = f"; {stale} parts of files are left by kills: `dipddpm cache prune` removes them" if stale else ""
    return "ok", f"{count} results, each what was written{left}"
