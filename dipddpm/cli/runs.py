"""``dipddpm report``, ``compare``, ``baseline promote`` and ``calibrate``: what is done with runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from dipddpm.cli.options import add_device, count
from dipddpm.measure.gate import compare
from dipddpm.measure.gate.baseline import device_type, load, section_for
from dipddpm.measure.gate.calibrate import PARTS, Calibration
from dipddpm.measure.gate.promote import promote
from dipddpm.measure.record import MeasureError, Run
from dipddpm.report.leaderboard import frame
from dipddpm.report.markdown import write
from dipddpm.session.figures import Figures


def add(verbs: argparse._SubParsersAction) -> None:
    """The verbs and their options."""
    p = verbs.add_parser("report", help="draw tables and figures from the raw file of a run")
    p.add_argument("run", type=Path, help="RUN.json")
    p.add_argument("--out", type=Path, default=Path("reports"), help="folder (default %(default)s)")
    p.set_defaults(verb=_report)

    p = verbs.add_parser(
        "compare", help="compare a run with a baseline",
        epilog="exit codes: 0 holds, 1 regression, 2 bad input, 3 no baseline, 4 undecided, 5 nothing measured",
    )  # fmt: skip
    p.add_argument("run", type=Path, help="RUN.json")
    p.add_argument("baseline", type=Path, help="baselines/NAME.json")
    p.add_argument("--dedicated", action="store_true", help="times are from a machine that does nothing else")
    p.set_defaults(verb=_compare)

    baseline = verbs.add_parser("baseline", help="make baselines").add_subparsers(required=True, metavar="VERB")
    p = baseline.add_parser("promote", help="make a run the baseline of its device type")
    p.add_argument("run", type=Path, help="RUN.json of a whole run without failures")
    p.add_argument("--reason", default="", help="what changed, and why it is right; the file keeps it")
    p.add_argument("--out", type=Path, help="file (default baselines/PROFILE.json)")
    p.set_defaults(verb=_promote)

    p = verbs.add_parser(
        "calibrate", help="run the suites against themselves and write the noise floor into a baseline",
        epilog="Each run is kept under .dipddpm/calibration: the same command goes on where it was stopped.",
    )  # fmt: skip
    p.add_argument("baseline", type=Path, help="baselines/NAME.json")
    p.add_argument("options", nargs="*", help="pytest options of the baseline, after -- (default: its profile)")
    p.add_argument("--only", action="append", choices=PARTS, help="may be repeated (default: all, in this order)")
    p.add_argument("--repeats", type=count, default=20, help="runs for timing and hog (default %(default)s)")
    p.add_argument("--hogs", type=int, default=2, help="busy processes beside the runs of hog (default %(default)s)")
    add_device(p)
    p.set_defaults(verb=_calibrate)


def _report(args: argparse.Namespace) -> None:
    run = Run.load(args.run)
    figures = Figures(args.out / "figures")
    figures.add_charts(run)
    for path in (*write(run, frame(run), args.out, figures.paths), *figures.paths):
        print(f"wrote {path}")


def _compare(args: argparse.Namespace) -> int:
    run, sections = Run.load(args.run), load(args.baseline)
    section = section_for(run, sections, args.baseline)
    found = compare.compare(run, section, device=device_type(run), dedicated=args.dedicated)
    print("\n\n".join(part for part in (found.table(), found.summary(args.baseline.as_posix())) if part))
    return found.code


def _promote(args: argparse.Namespace) -> None:
    run = Run.load(args.run)
    profile, *axes = str(run.settings.get("profile", "")).split()
    if axes and not args.out:
        raise MeasureError(f"{args.run} is of {profile} with {' '.join(axes)}: name the file with --out")
    out = args.out or Path("baselines") / f"{profile}.json"
    section = promote(run, args.reason, out)
    print(f"wrote {out}: {len(section.entries)} entries for {device_type(run)}")


def _calibrate(args: argparse.Namespace) -> None:
    settings = load(args.baseline, check=False).get(args.device)
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
