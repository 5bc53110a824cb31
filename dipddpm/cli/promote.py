"""``dipddpm baseline promote``: a run becomes the baseline of CPUs, or of its kind of GPU."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dipddpm.measure.exit_codes import NO_BASELINE
from dipddpm.measure.files import inside
from dipddpm.measure.gate.baseline import NoBaseline, section_of
from dipddpm.measure.gate.promote import promote
from dipddpm.measure.record import MeasureError, Run

EXIT_CODES = {NoBaseline: NO_BASELINE}


def run(args: argparse.Namespace) -> None:
    """``dipddpm baseline promote``."""
    run = Run.load(args.run)
    profile, *axes = str(run.settings.get("profile", "")).split() or [""]
    if axes and not args.out:
        raise MeasureError(f"{args.run} is of {profile} with {' '.join(axes)}: name the file with --out")
    try:  # whoever wrote the run does not choose where a baseline is written
        out = args.out or inside(Path("baselines"), f"{profile}.json" if profile else "")
    except ValueError as error:
        raise MeasureError(f"{args.run}: profile {profile!r:.80} names no file: name one with --out") from error
    section = promote(run, args.reason, out)
    if args.json:
        print(json.dumps({"wrote": str(out), "section": section_of(run), "entries": len(section.entries)}))
        return
    print(f"wrote {out}: {len(section.entries)} entries for {section_of(run)}")
