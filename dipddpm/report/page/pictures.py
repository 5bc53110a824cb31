"""Pictures of restorations for the page: one sheet for each task, of which the page shows cut-outs."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dipddpm.report.picture_sheet import PREFIX, PictureSheet, read_sheet
from dipddpm.report.words import words

MOST = 1_500_000  # bytes of all sheets that a page takes in


@dataclass(frozen=True)
class Picture:
    """A cut-out: what it shows, its caption, and where it lies on the sheet, counted in pictures."""

    told: str
    caption: str
    column: int
    row: int


@dataclass(frozen=True)
class Gallery:
    """The pictures of a task.

    Attributes:
        name: of the style that holds the sheet; uri: the sheet itself.
        rows: (why the images are shown, their pictures).
    """

    name: str
    uri: str
    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Picture]]]
    height: int
    width: int

    @property
    def across(self) -> int:
        """Pictures in a row of the sheet."""
        return len(self.columns)


def galleries(files: Iterable[Path], most: int = MOST) -> dict[str, Gallery]:
    """{task: its pictures}, of the files that are sheets; those beyond ``most`` bytes in all are left out."""
    made: dict[str, Gallery] = {}
    for file in files:
        if not file.name.startswith(PREFIX) or (sheet := read_sheet(file)) is None:
            continue
        if (size := file.stat().st_size) <= most:
            most -= size
            made[sheet.group] = _gallery(sheet, f"sheet-{len(made)}")
    return made


def _gallery(sheet: PictureSheet, name: str) -> Gallery:
    uri = "data:image/png;base64," + base64.b64encode(sheet.file.read_bytes()).decode("ascii")
    columns = [words(column) for column in sheet.columns]
    rows = []
    for j, case in enumerate(sheet.cases):
        captions = [sheet.captions.get(column, [""] * len(sheet.cases))[j] for column in sheet.columns]
        told = [
            f"{column}, {case}" + f", {caption}" * bool(caption)
            for column, caption in zip(columns, captions, strict=True)
        ]
        rows.append((case, [Picture(told[i], captions[i], i, j) for i in range(len(columns))]))
    return Gallery(name, uri, sheet.title, columns, rows, *sheet.size)
