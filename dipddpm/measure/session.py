"""What a pytest session shares between the conftest that fills it and the plugin that reports it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from dipddpm.measure.files import write_json
from dipddpm.measure.record import Measure, Run


class Figures:
    """The figures of a session. One that is on disk and was drawn from the same data is not drawn again.

    Attributes:
        paths: PNG files of this session, all in ``folder``; ``drawn-from.json`` there says what each was drawn from.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.paths: list[Path] = []
        self._manifest = folder / "drawn-from.json"

    def add(self, name: str, key: str, draw: Callable[[], Sequence[Path]]) -> None:
        """Add what ``draw`` draws; ``key`` is a hash of everything that it draws from."""
        try:
            drawn = json.loads(self._manifest.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            drawn = {}
        before = drawn.get(name, {})
        paths = [self.folder / file for file in before.get("files", [])]
        if before.get("key") != key or not all(path.exists() for path in paths):
            paths = list(draw())
            drawn[name] = {"key": key, "files": [path.name for path in paths]}
            write_json(self._manifest, drawn)
        self.paths += paths

    def tidy(self) -> None:
        """Remove the figures of earlier sessions: the report is that of this one."""
        for old in self.folder.glob("*.*"):
            if old != self._manifest and old.with_suffix(".png") not in self.paths:
                old.unlink()


RUN: pytest.StashKey[Run] = pytest.StashKey()
RUN_FILE: pytest.StashKey[Path] = pytest.StashKey()
FIGURES: pytest.StashKey[Figures] = pytest.StashKey()
TABLE: pytest.StashKey[pd.DataFrame] = pytest.StashKey()
REPORTS: pytest.StashKey[tuple[Path, ...]] = pytest.StashKey()
RERUNS: pytest.StashKey[dict[str, Callable[[], Measure]]] = pytest.StashKey()
"""{key of a baseline entry: measures its time again}, for what the gate wants to see confirmed."""
