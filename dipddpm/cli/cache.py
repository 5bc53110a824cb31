"""``dipddpm cache``: what a store holds, and what of it may go."""

from __future__ import annotations

import argparse

from dipddpm.errors import InputError
from dipddpm.measure.exit_codes import BAD_INPUT
from dipddpm.measure.stored_files import StoredFile, damaged, prune, stored_files
from dipddpm.paths import shown

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def run(args: argparse.Namespace) -> int:
    """``dipddpm cache size``, ``prune`` and ``verify``."""
    if not args.cache.is_dir():
        raise InputError(f"{shown(args.cache)}: no such folder: name the store with --cache")
    if args.what == "size":
        every = list(stored_files(args.cache))
        for function in sorted({stored.base.parent.name for stored in every}):
            print(_line(function, [stored for stored in every if stored.base.parent.name == function]))
        print(_line("all", every))
    elif args.what == "prune":
        gone, freed = prune(args.cache, args.keep)
        left = list(stored_files(args.cache))
        print(f"removed {gone} results ({readable(freed)}), those used longest ago; {_line('left', left)}")
    else:
        count, bad = sum(1 for _ in stored_files(args.cache)), list(damaged(args.cache))
        for stored, why in bad:
            print(f"{shown(stored.base)}: {why}")
        print(
            f"{count - len(bad)} results are what was written, {len(bad)} are not (they are computed again when used)"
        )
        return BAD_INPUT if bad else 0
    return 0


def _line(name: str, members: list[StoredFile]) -> str:
    return f"{name}: {len(members)} results, {readable(sum(stored.size for stored in members))}"


def readable(size: float) -> str:
    """A number of bytes in the largest unit that leaves 1 or more: ``1.5 GB``."""
    for unit in UNITS:
        if size < 1000 or unit == UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
