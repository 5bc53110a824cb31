"""``dipddpm calibrate``: the suites against themselves, for the noise floor of a baseline."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tqdm import tqdm

from dipddpm.measure.exit_codes import NO_BASELINE
from dipddpm.measure.gate.baseline import NoBaseline, load, section_name
from dipddpm.measure.gate.calibrate import PARTS, Calibration
from dipddpm.measure.instruments.machine import machine
from dipddpm.progress import progress

EXIT_CODES = {NoBaseline: NO_BASELINE}


def run(args: argparse.Namespace) -> None:
    """``dipddpm calibrate``."""
    settings = load(args.baseline, check=False).get(section_name(args.device, machine()))
    profile, *axes = str(settings.settings.get("profile", "")).split() if settings else [""]
    options = args.options or [*(["--profile", profile] if profile else []), *(f"--axis={axis}" for axis in axes)]
    parts = args.only or list(PARTS)
    runs = {"timing": args.repeats, "quality": 2, "hog": args.repeats}
    with progress(sum(runs.get(part, 0) for part in parts), "calibrating", "run") as bar:

        def say(line: str) -> None:
            tqdm.write(line, file=sys.stdout)
            bar.update()

        _calibrate(Calibration(args.baseline, args.device, options, say=say), parts, args)
    load(args.baseline)  # says which tolerance is below the floor


def _calibrate(calibration: Calibration, parts: Sequence[str], args: argparse.Namespace) -> None:
    for part in parts:
        if part == "timing":
            print(calibration.timing(args.repeats))
        elif part == "quality":
            print(calibration.quality())
        elif part == "hog":
            print(calibration.hog(args.repeats, args.hogs))
        else:
            print(calibration.detection())
