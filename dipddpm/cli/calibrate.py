"""``dipddpm calibrate``: the suites against themselves, for the noise floor of a baseline."""

from __future__ import annotations

import argparse

from dipddpm.measure.exit_codes import NO_BASELINE
from dipddpm.measure.gate.baseline import NoBaseline, load, section_name
from dipddpm.measure.gate.calibrate import PARTS, Calibration
from dipddpm.measure.instruments.machine import machine

EXIT_CODES = {NoBaseline: NO_BASELINE}


def run(args: argparse.Namespace) -> None:
    """``dipddpm calibrate``."""
    settings = load(args.baseline, check=False).get(section_name(args.device, machine()))
    profile, *axes = str(settings.settings.get("profile", "")).split() if settings else [""]
    options = args.options or [*(["--profile", profile] if profile else []), *(f"--axis={axis}" for axis in axes)]
    calibration = Calibration(args.baseline, args.device, options)
    for part in args.only or PARTS:
        if part == "timing":
            print(calibration.timing(args.repeats))
        elif part == "quality":
            print(calibration.quality())
        elif part == "hog":
            print(calibration.hog(args.repeats, args.hogs))
        else:
            print(calibration.detection())
    load(args.baseline)  # says which tolerance is below the floor
