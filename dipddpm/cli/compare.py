"""``dipddpm compare``: a run against a baseline, as the gate does it at the end of a session."""

from __future__ import annotations

import argparse
import json

from dipddpm.measure.exit_codes import NO_BASELINE
from dipddpm.measure.gate.baseline import NoBaseline, load, section_for, section_of
from dipddpm.measure.gate.compare import compare
from dipddpm.measure.record import Run
from dipddpm.registry import choose

EXIT_CODES = {NoBaseline: NO_BASELINE}


def run(args: argparse.Namespace) -> int:
    """``dipddpm compare``; the exit code is the outcome."""
    run, sections = Run.load(args.run), load(args.baseline)
    if args.section:
        section = sections[choose("section", args.section, sections)]
    else:
        section = section_for(run, sections, args.baseline)
    found = compare(run, section, device=args.section or section_of(run), dedicated=args.dedicated)
    if args.json:
        print(json.dumps(found.as_json(), indent=1))
        return found.code
    print("\n\n".join(part for part in (found.table(), found.summary(args.baseline.as_posix())) if part))
    return found.code
