"""The tables that a paper shows, as LaTeX with booktabs: the verdicts, and the best rows of each task and judge."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dipddpm.measure.files import write_text
from dipddpm.measure.record import Run
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.file_names import file_name
from dipddpm.report.tables import leaderboard_frame, verdict_frame

FOLDER = "tables"
ROWS = 10


def write(run: Run, table: pd.DataFrame, folder: Path, comparisons: Comparisons) -> tuple[Path, ...]:
    """Write ``tables/*.tex``; their paths. Each is a ``tabular`` for ``\\input``, and needs the package booktabs.

    Args:
        table: ``frame(run)``.
    """
    made = {"verdicts": verdict_frame(comparisons)}
    for (group, judge), rows in (
        table[table["leak"] == "none"].groupby(["group", "judge"], sort=False) if len(table) else ()
    ):
        shown = leaderboard_frame(rows[:ROWS], run, judge).drop(columns="setting")
        made[f"{file_name(group)}-{file_name(judge)}"] = shown
    paths = {folder / FOLDER / f"{name}.tex": shown for name, shown in made.items() if len(shown)}
    for path, shown in paths.items():
        write_text(path, latex(shown))
    return tuple(paths)


def latex(shown: pd.DataFrame) -> str:
    """A frame of texts as a ``tabular`` with the rules of booktabs; LaTeX commands in the texts are escaped."""
    plain = shown.astype(object).fillna("").map(_escaped).rename(columns=_escaped)
    return plain.to_latex(index=False, escape=False, column_format="l" * len(plain.columns))


def _escaped(cell: object) -> str:
    text = " ".join(str(cell).split())
    return "".join(SPECIAL.get(character, character) for character in text)


SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "→": r"$\rightarrow$", "\u2212": "$-$",
}  # fmt: skip
