"""``dipddpm report``: tables and figures of a run, from its raw file; of submissions, the public table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from dipddpm.cli.options import writable_folder
from dipddpm.errors import InputError
from dipddpm.measure.escape import visible
from dipddpm.measure.exit_codes import BAD_INPUT
from dipddpm.measure.gate.merge import merge
from dipddpm.measure.record import MeasureError, Run
from dipddpm.measure.submission import Submission, is_submission
from dipddpm.progress import each, steps

OF_A_RUN, OF_SUBMISSIONS = Path("reports/latest"), Path("reports/public")


def run(args: argparse.Namespace) -> int:
    """``dipddpm report``; exit code 2 if nothing could be used."""
    if len(args.files) == 1 and not is_submission(args.files[0]):
        return _of_a_run(args.files[0], args.out or OF_A_RUN, args.json)
    if len(args.files) > 1 and not any(map(is_submission, args.files)):
        raise InputError(
            f"{len(args.files)} files and no submission among them: name one RUN.json, or files that `dipddpm submit` "
            "wrote"
        )
    return _of_submissions(args.files, args.out or OF_SUBMISSIONS, args.json)


def _of_a_run(file: Path, out: Path, as_json: bool) -> int:
    from dipddpm.session.figures import Figures
    from dipddpm.session.reporting import write_report

    writable_folder(out, "--out")
    run = Run.load(file)
    with steps("charts", "tables", "page") as begin_next:
        written = write_report(run, Figures(out / "figures"), [out], begin_next)
    _say([*written.files, *written.figures], {}, as_json)
    return 0


def _of_submissions(files: Sequence[Path], out: Path, as_json: bool) -> int:
    from dipddpm.report.public import write
    from dipddpm.session.submitting import unsound

    taken, refused = dict[Path, Submission](), dict[Path, str]()
    for file in each(files, len(files), "checking", "file"):
        try:
            taken[file] = Submission.load(file)
        except MeasureError as error:
            refused[file] = str(error).removeprefix(f"{file}: ")
            continue
        if why := next(unsound(taken[file]), ""):
            refused[file] = why
            del taken[file]
    boards, apart = merge(taken)
    refused |= apart
    if boards:
        writable_folder(out, "--out")
    _say(write(boards, refused, out) if boards else [], refused, as_json)
    return 0 if boards else BAD_INPUT


def _say(written: Iterable[Path], refused: dict[Path, str], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"wrote": list(map(str, written)), "refused": {str(f): why for f, why in refused.items()}}))
        return
    for path in written:
        print(f"wrote {path}")
    for path, why in refused.items():
        print(f"dipddpm: {visible(str(path))}: not in a table: {visible(why)}", file=sys.stderr)
