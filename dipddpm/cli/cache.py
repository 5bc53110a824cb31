"""``dipddpm cache``: what a store holds, and what of it may go."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from dipddpm.errors import InputError
from dipddpm.measure.exit_codes import BAD_INPUT
from dipddpm.measure.stored_files import StoredFile, damaged, prune, stored_files
from dipddpm.paths import shown
from dipddpm.progress import progress

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def run(args: argparse.Namespace) -> int:
    """``dipddpm cache size``, ``prune`` and ``verify``."""
    if not args.cache.is_dir():
        raise InputError(f"{shown(args.cache)}: no such folder: name the store with --cache")
    found, code = {"size": _size, "prune": _prune, "verify": _verify}[args.what](args)
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(_said(found)))
    return code


def _size(args: argparse.Namespace) -> tuple[dict, int]:
    every = list(stored_files(args.cache))
    functions = sorted({stored.base.parent.name for stored in every})
    by = {f: _counted([stored for stored in every if stored.base.parent.name == f]) for f in functions}
    return {"functions": by, "all": _counted(every)}, 0


def _prune(args: argparse.Namespace) -> tuple[dict, int]:
    gone, freed = prune(args.cache, args.keep)
    return {"removed": {"results": gone, "bytes": freed}, "left": _counted(list(stored_files(args.cache)))}, 0


def _verify(args: argparse.Namespace) -> tuple[dict, int]:
    count = sum(1 for _ in stored_files(args.cache))
    with progress(count, "reading", "result") as bar:
        bad = {shown(stored.base): why for stored, why in damaged(args.cache, bar.update)}
    return {"sound": count - len(bad), "damaged": bad}, BAD_INPUT if bad else 0


def _counted(members: list[StoredFile]) -> dict[str, int]:
    return {"results": len(members), "bytes": sum(stored.size for stored in members)}


def _said(found: dict) -> Iterator[str]:
    """What was found, in lines."""
    for function, counted in found.get("functions", {}).items():
        yield _line(function, counted)
    if "all" in found:
        yield _line("all", found["all"])
    if "removed" in found:
        gone, freed = found["removed"].values()
        yield f"removed {gone} results ({readable(freed)}), those used longest ago; {_line('left', found['left'])}"
    if "damaged" in found:
        yield from (f"{name}: {why}" for name, why in found["damaged"].items())
        again = "are not (they are computed again when used)"
        yield f"{found['sound']} results are what was written, {len(found['damaged'])} {again}"


def _line(name: str, counted: dict[str, int]) -> str:
    return f"{name}: {counted['results']} results, {readable(counted['bytes'])}"


def readable(size: float) -> str:
    """A number of bytes in the largest unit that leaves 1 or more: ``1.5 GB``."""
    for unit in UNITS:
        if size < 1000 or unit == UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
