"""``dipddpm publish``: the report of a run becomes the one that is committed.

The report of every session goes to ``reports/latest``, which git ignores, so that running the benchmark changes no file
under version control. ``reports/reference`` is written by this verb alone.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

from dipddpm.measure.files import write_atomically
from dipddpm.measure.record import MeasureError, Run
from dipddpm.progress import steps
from dipddpm.report import reproduce
from dipddpm.report.reproduce import RECORDS
from dipddpm.session.figures import Figures
from dipddpm.session.reporting import write_report

LATEST, REFERENCE = Path("reports/latest"), Path("reports/reference")


def run(args: argparse.Namespace) -> None:
    """``dipddpm publish``."""
    run = Run.load(args.run)
    check(run, args.run)
    with steps("charts", "tables", "page") as begin_next:
        places = [args.run.parent, LATEST, REFERENCE]
        report = write_report(run, Figures(REFERENCE / "figures"), places, begin_next)
    # Without a time inside, so that the same run is the same file.
    packed = gzip.compress(args.run.read_bytes(), mtime=0)
    write_atomically(REFERENCE / RECORDS, lambda partial: partial.write_bytes(packed))
    files = (*report.files, REFERENCE / RECORDS)
    written = (*files, reproduce.write(run, files, REFERENCE), *report.figures)
    for path in written:
        print(f"wrote {path}")
    for path in (found for kind in ("*.md", "*.csv", "tables/*.tex") for found in REFERENCE.glob(kind)):
        if path not in written:  # a table of the run before, which this run has no records for
            path.unlink()
            print(f"removed {path}")


def check(run: Run, file: Path) -> None:
    """Raise MeasureError unless ``run`` is whole: numbers that are quoted must not be those of a part."""
    if why := run.why_not_whole:
        raise MeasureError(f"{file}: {why}, so it is not published: run all suites without a failure")
