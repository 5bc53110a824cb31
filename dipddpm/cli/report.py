"""``dipddpm report``: tables and figures of a run, from its raw file."""

from __future__ import annotations

import argparse

from dipddpm.cli.options import writable_folder
from dipddpm.measure.record import Run
from dipddpm.session.figures import Figures
from dipddpm.session.reporting import write_report


def run(args: argparse.Namespace) -> None:
    """``dipddpm report``."""
    writable_folder(args.out, "--out")
    written = write_report(Run.load(args.run), Figures(args.out / "figures"), [args.out])
    for path in (*written.files, *written.figures):
        print(f"wrote {path}")
