"""``dipddpm baseline promote``: a run becomes the baseline of CPUs, or of its kind of GPU."""

from __future__ import annotations

import argparse
from pathlib import Path

from dipddpm.measure.gate.baseline import NoBaseline, section_of
from dipddpm.measure.gate.outcomes import NO_BASELINE
from dipddpm.measure.gate.promote import promote
from dipddpm.measure.record import MeasureError, Run

EXIT_CODES = {NoBaseline: NO_BASELINE}


def run(args: argparse.Namespace) -> None:
    """``dipddpm baseline promote``."""
    run = Run.load(args.run)
    profile, *axes = str(run.settings.get("profile", "")).split()
    if axes and not args.out:
        raise MeasureError(f"{args.run} is of {profile} with {' '.join(axes)}: name the file with --out")
    out = args.out or Path("baselines") / f"{profile}.json"
    section = promote(run, args.reason, out)
    print(f"wrote {out}: {len(section.entries)} entries for {section_of(run)}")
