"""What a pytest session shares between the conftest that fills it and the plugin that reports it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipddpm.measure.record import Run


class Figures(list[Path]):
    """PNG files of a session, all in ``folder``."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder


RUN: pytest.StashKey[Run] = pytest.StashKey()
RUN_FILE: pytest.StashKey[Path] = pytest.StashKey()
FIGURES: pytest.StashKey[Figures] = pytest.StashKey()
REPORTS: pytest.StashKey[tuple[Path, ...]] = pytest.StashKey()
