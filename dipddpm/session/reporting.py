"""The report of a run: everything is compared once, for tables, figures and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dipddpm.measure.record import Run
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.leaderboard import frame
from dipddpm.report.markdown import terminal, write
from dipddpm.session.figures import Figures


@dataclass(frozen=True)
class Report:
    """A report that was written: its files, its figures, and what a terminal is shown of it."""

    files: tuple[Path, ...]
    figures: tuple[Path, ...]
    terminal: str


def write_report(run: Run, figures: Figures, pictures_of: Sequence[Path] = ()) -> Report:
    """Write tables and figures of ``run`` into the folder above that of ``figures``.

    Args:
        pictures_of: folders of reports. Pictures of restorations are taken over from the first that is of this run.
    """
    comparisons = Comparisons(run)
    table = frame(run, comparisons)
    text = table.to_csv(index=False)
    if report := next((folder for folder in pictures_of if _text(folder / "leaderboard.csv") == text), None):
        figures.adopt(report / "figures")
    figures.add_charts(comparisons)
    figures.tidy()
    files = write(run, table, figures.folder.parent, figures.paths, comparisons)
    return Report(files, tuple(figures.paths), terminal(run, table, comparisons))


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return None
