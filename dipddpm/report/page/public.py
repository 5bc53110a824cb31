"""The public table as a page: one file without a request, in the look of a report's page, tables that sort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dipddpm.measure.files import write_text
from dipddpm.report.page.document import NAME, rendered
from dipddpm.report.page.sections import Table

if TYPE_CHECKING:
    from dipddpm.report.public import PublicBoard

SCRIPTS = ("jquery.min.js", "dataTables.min.js")


def write_page(boards: Sequence[PublicBoard], refused: Mapping[Path, str], folder: Path) -> Path:
    """Write ``index.html``; its path."""
    write_text(folder / NAME, html(boards, refused))
    return folder / NAME


def html(boards: Sequence[PublicBoard], refused: Mapping[Path, str]) -> str:
    """The page. Every name is escaped, and only the scripts whose hash the policy lists can run."""
    from dipddpm.report.public import INTRODUCTION, TITLE

    return rendered(
        "public.html", SCRIPTS, charts=lambda: "{}", title=TITLE, introduction=INTRODUCTION, boards=boards,
        refused=refused, table_of=Table.of,
    )  # fmt: skip
