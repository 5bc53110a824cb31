"""``dipddpm report``: tables and figures of a run, from its raw file."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from dipddpm.measure.record import Run
from dipddpm.report.leaderboard import frame
from dipddpm.report.markdown import write
from dipddpm.session.figures import Figures


def run(args: argparse.Namespace) -> None:
    """``dipddpm report``."""
    for path in write_report(Run.load(args.run), args.out, [args.out]):
        print(f"wrote {path}")


def write_report(run: Run, folder: Path, reports: Sequence[Path]) -> list[Path]:
    """Tables and figures of ``run`` into ``folder``; what was written.

    Pictures of restorations can be drawn while a session has the images, and not from the file of its run. They are
    taken over from the first of ``reports`` that is of this run; where none is, the report goes without them.
    """
    table, figures = frame(run), Figures(folder / "figures")
    mine = (report for report in reports if _text(report / "leaderboard.csv") == table.to_csv(index=False))
    if report := next(mine, None):
        for name, drawn in _pictures(report / "figures").items():
            figures.add(name, drawn["key"], partial(_copy, report / "figures", drawn["files"], figures.folder))
    figures.add_charts(run)
    figures.tidy()
    return [*write(run, table, folder, figures.paths), *figures.paths]


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return None


def _pictures(folder: Path) -> Mapping[str, Mapping]:
    """The figures that a session added to its charts, as its ``drawn-from.json`` lists them."""
    try:
        drawn = json.loads(_text(folder / "drawn-from.json") or "{}")
    except json.JSONDecodeError:
        return {}
    return {name: of for name, of in drawn.items() if name != "charts"}


def _copy(source: Path, files: Sequence[str], target: Path) -> list[Path]:
    """Copy those PNG files that are there, each with the SVG of the same name; the copies."""
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        for path in (source / file, (source / file).with_suffix(".svg")):
            if path.exists():
                shutil.copyfile(path, target / path.name)
    return [target / file for file in files if (target / file).exists()]
