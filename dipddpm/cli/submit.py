"""``dipddpm submit``: a run becomes a file of results that a pull request can add."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from dipddpm.cli.options import writable_folder
from dipddpm.measure.escape import visible
from dipddpm.measure.exit_codes import BAD_INPUT
from dipddpm.measure.record import Run
from dipddpm.measure.submission import Submission
from dipddpm.progress import each
from dipddpm.session.submitting import complaints, complaints_about, submission_of

SHOWN = 20  # complaints of a file: who left out one suite has hundreds


def run(args: argparse.Namespace) -> int:
    """``dipddpm submit``: exit code 2 if a file is refused."""
    files = each(args.files, len(args.files), "checking", "file")
    outcomes = [_checked(file) if args.check else _submitted(file, args) for file in files]
    if args.json:
        print(json.dumps(outcomes, indent=1))
    for outcome in outcomes:
        for why in outcome["refused"]:
            print(f"dipddpm: {visible(outcome['file'])}: {visible(why)}", file=sys.stderr)
        if not args.json and not outcome["refused"]:
            print(f"wrote {outcome['wrote']}" if outcome["wrote"] else f"{outcome['file']}: in order")
    return BAD_INPUT if any(outcome["refused"] for outcome in outcomes) else 0


def _checked(file: Path) -> dict:
    one = Submission.load(file)
    return {"file": str(file), "wrote": "", "refused": _few(complaints_about(one, file))}


def _submitted(file: Path, args: argparse.Namespace) -> dict:
    made = Run.load(file)
    if refused := _few(complaints(made)):
        return {"file": str(file), "wrote": "", "refused": refused}
    writable_folder(args.out, "--out")
    return {"file": str(file), "wrote": str(submission_of(made, args.by).save(args.out)), "refused": []}


def _few(lines: Iterable[str]) -> list[str]:
    """The first of some complaints, and how many more there are."""
    found = iter(lines)
    shown, more = list(islice(found, SHOWN)), sum(1 for _ in found)
    return [*shown, *([f"and {more} more"] if more else [])]
