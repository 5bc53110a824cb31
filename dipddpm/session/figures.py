"""The figures of a report: each is drawn again only if what it shows has changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from dipddpm.measure.content import digest, source_digest
from dipddpm.measure.files import inside, write_json
from dipddpm.measure.record import Run
from dipddpm.measure.strict_json import json_of
from dipddpm.report.growth import SUITE as GROWTH

if TYPE_CHECKING:
    from dipddpm.report.comparisons import Comparisons

CHARTS = "charts"  # under which all that is drawn from records is listed


class Drawn(Struct, forbid_unknown_fields=True):
    """What ``drawn-from.json`` says of figures: what they were drawn from, and their files."""

    key: str
    files: list[str]


class Figures:
    """The figures of a session. One that is on disk and was drawn from the same data is not drawn again.

    Attributes:
        paths: PNG files of this session, all in ``folder``; ``drawn-from.json`` there says what each was drawn from.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.paths: list[Path] = []
        self._names: set[str] = set()
        self._manifest = folder / "drawn-from.json"

    def add(self, name: str, key: str, draw: Callable[[], Sequence[Path]]) -> None:
        """Add what ``draw`` draws; ``key`` is a hash of everything that it draws from."""
        self._names.add(name)
        drawn = self._drawn()
        before = drawn.get(name, {})
        paths = [self.folder / file for file in before.get("files", [])]
        if before.get("key") != key or not all(path.exists() for path in paths):
            old, paths = paths, list(draw())
            drawn[name] = {"key": key, "files": [path.name for path in paths]}
            write_json(self._manifest, drawn)
            self._remove({*old} - {*paths, *self.paths})
        self.paths += paths

    def adopt(self, folder: Path) -> None:
        """Add the pictures that another report has in ``folder``: they were drawn while their session had the images,
        and cannot be drawn from the file of a run."""
        for name, drawn in Figures(folder)._drawn().items():
            if name != CHARTS:
                self.add(name, drawn["key"], partial(self._copied, folder, drawn["files"]))

    def _copied(self, source: Path, files: Sequence[str]) -> list[Path]:
        """Copies of those PNG files that are there, each with the SVG of the same name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            for path in (source / file, (source / file).with_suffix(".svg")):
                if path.exists() and source != self.folder:
                    shutil.copyfile(path, self.folder / path.name)
        return [self.folder / file for file in files if (self.folder / file).exists()]

    def add_charts(self, run: Run, comparisons: Callable[[], Comparisons]) -> None:
        """Add every chart that a run has the data for.

        Args:
            comparisons: gives those of the run; called where charts are drawn.
        """
        drawn = [asdict(record) for record in run.records if record.role != "stage" or record.suite == GROWTH]
        key = digest([source_digest(["dipddpm.report.figures"]), run.judges, drawn])
        self.add(CHARTS, key, lambda: _draw(comparisons(), self.folder))

    def tidy(self) -> None:
        """Remove the figures of earlier sessions: the report is that of this one. What else lies there stays."""
        drawn = self._drawn()
        gone = [name for name in drawn if name not in self._names]
        if gone:
            self._remove({self.folder / file for name in gone for file in drawn[name]["files"]} - {*self.paths})
            write_json(self._manifest, {name: of for name, of in drawn.items() if name in self._names})

    def _drawn(self) -> dict:
        """The content of the manifest. Files of earlier sessions are removed by the names in it. Names that lead out of
        the folder, which this class never writes, are therefore left out."""
        try:
            drawn = json_of(self._manifest.read_bytes(), dict[str, Drawn])
        except (OSError, ValueError):
            return {}
        return {name: {"key": of.key, "files": [*self._own(of.files)]} for name, of in drawn.items()}

    def _own(self, files: Sequence[str]) -> Iterator[str]:
        for file in files:
            with suppress(ValueError):
                if (path := inside(self.folder, file)).suffix == ".png":
                    yield path.name

    @staticmethod
    def _remove(paths: Collection[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)
            path.with_suffix(".svg").unlink(missing_ok=True)


def _draw(comparisons: Comparisons, folder: Path) -> list[Path]:
    from dipddpm.report.figures import draw  # imported here: matplotlib is not needed where every figure is there

    return draw(comparisons.run, folder, comparisons)
