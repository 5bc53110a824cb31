"""What a pytest session shares between the conftest that fills it and the plugin that reports it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest

from dipddpm.measure.content import digest, source_digest
from dipddpm.measure.files import write_json
from dipddpm.measure.record import Measure, Run
from dipddpm.report.growth import SUITE as GROWTH


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

    def add_charts(self, run: Run) -> None:
        """Add every chart that a run has the data for."""
        drawn = [asdict(record) for record in run.records if record.role != "stage" or record.suite == GROWTH]
        key = digest([source_digest(["dipddpm.report.figures"]), drawn])
        self.add("charts", key, lambda: _draw(run, self.folder))

    def tidy(self) -> None:
        """Remove the figures of earlier sessions: the report is that of this one. What else lies there stays."""
        drawn = self._drawn()
        gone = [name for name in drawn if name not in self._names]
        if gone:
            self._remove({self.folder / file for name in gone for file in drawn[name]["files"]} - {*self.paths})
            write_json(self._manifest, {name: of for name, of in drawn.items() if name in self._names})

    def _drawn(self) -> dict:
        try:
            return json.loads(self._manifest.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    @staticmethod
    def _remove(paths: Collection[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)
            path.with_suffix(".svg").unlink(missing_ok=True)


def _draw(run: Run, folder: Path) -> list[Path]:
    from dipddpm.report.figures import draw  # here: a run whose figures are drawn needs no matplotlib

    return draw(run, folder)


RUN: pytest.StashKey[Run] = pytest.StashKey()
RUN_FILE: pytest.StashKey[Path] = pytest.StashKey()
FIGURES: pytest.StashKey[Figures] = pytest.StashKey()
TABLE: pytest.StashKey[pd.DataFrame] = pytest.StashKey()
REPORTS: pytest.StashKey[tuple[Path, ...]] = pytest.StashKey()
RERUNS: pytest.StashKey[dict[str, Callable[[], Measure]]] = pytest.StashKey()
"""{key of a baseline entry: measures its time again}, for what the gate wants to see confirmed."""
