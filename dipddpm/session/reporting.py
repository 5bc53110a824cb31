"""The report of a run: everything is compared once, for tables, figures and the terminal.

A report that is there and was made of the same records by the same code is found and not made again: its manifest says
what it was made of, and what its files have to be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field, to_builtins

from dipddpm.measure.checksum import checksum
from dipddpm.measure.content import digest, source_digest
from dipddpm.measure.files import inside, write_json
from dipddpm.measure.record import Run
from dipddpm.measure.strict_json import json_of
from dipddpm.report.page.assets import assets_digest
from dipddpm.session.figures import Figures

if TYPE_CHECKING:
    from dipddpm.report.comparisons import Comparisons

MANIFEST = "made-from.json"
TABLES = "tables"  # the folder of the LaTeX tables


class MadeFrom(Struct, forbid_unknown_fields=True):
    """What a report says of itself, by the names that its file has."""

    made_of: str = field(name="made of")
    figures: list[str]
    files: dict[str, str]
    terminal: str


@dataclass(frozen=True)
class Report:
    """A report that is written: its files, its figures, and what a terminal is shown of it."""

    files: tuple[Path, ...]
    figures: tuple[Path, ...]
    terminal: str


def write_report(
    run: Run, figures: Figures, pictures_of: Sequence[Path] = (), begin_next: Callable[[], object] = lambda: None
) -> Report:
    """Tables and figures of ``run`` in the folder above that of ``figures``.

    Args:
        pictures_of: folders of reports. Pictures of restorations are taken over from the first that is of this run.
        begin_next: is called when charts are drawn, and when tables are written: the page is what is left then.
    """
    folder, made_of = figures.folder.parent, digest([source_digest([__name__]), assets_digest(), run.content()])
    if report := next((other for other in pictures_of if _manifest(other).get("made of") == made_of), None):
        figures.adopt(report / "figures")

    @cache
    def comparisons() -> Comparisons:
        from dipddpm.report.comparisons import Comparisons  # imported here: a report that is found needs no statistics

        return Comparisons(run)

    figures.add_charts(run, comparisons)
    figures.tidy()
    begin_next()
    drawn = [path.name for path in figures.paths]
    manifest = _manifest(folder)
    if manifest.get("made of") != made_of or manifest.get("figures") != drawn or not _whole(folder, manifest):
        manifest = {"made of": made_of, "figures": drawn} | _made(run, figures, comparisons, begin_next)
        write_json(folder / MANIFEST, manifest)
    return Report(tuple(folder / name for name in manifest["files"]), tuple(figures.paths), manifest["terminal"])


def _made(run: Run, figures: Figures, comparisons: Callable[[], Comparisons], begin_next: Callable[[], object]) -> dict:
    """Write tables and page; what the manifest says of them."""
    from dipddpm.report import columns, latex
    from dipddpm.report.leaderboard import frame
    from dipddpm.report.markdown import terminal, write
    from dipddpm.report.page.document import write_page

    folder, table = figures.folder.parent, frame(run, comparisons())
    files = list(write(run, table, folder, figures.paths, comparisons()))
    files += [columns.write(files, folder), *latex.write(run, table, folder, comparisons())]
    begin_next()
    files.append(write_page(comparisons(), table, folder, figures.paths))
    named = {file.relative_to(folder).as_posix(): checksum(file) for file in files}
    return {"files": named, "terminal": terminal(run, table, comparisons())}


def _whole(folder: Path, manifest: dict) -> bool:
    """Every file of the report is as it was written."""
    return all(
        (folder / name).is_file() and checksum(folder / name) == found for name, found in manifest["files"].items()
    )


def _file(folder: Path, name: str) -> Path:
    """A file of a report by its name in the manifest: in the folder itself, or in that of the LaTeX tables.

    Raises:
        ValueError: a name that leads elsewhere.
    """
    first, _, rest = str(name).partition("/")
    return inside(folder / TABLES, rest) if first == TABLES and rest else inside(folder, name)


def _manifest(folder: Path) -> dict:
    """What the report in ``folder`` says of itself; nothing where there is none."""
    try:
        found = to_builtins(json_of((folder / MANIFEST).read_bytes(), MadeFrom))
        for name in found["files"]:
            _file(folder, name)
    except (OSError, ValueError):
        return {}
    return found
