"""What a pytest session shares between the conftest that fills it and the plugin that reports it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipddpm.measure.record import Run

RUN: pytest.StashKey[Run] = pytest.StashKey()
RUN_FILE: pytest.StashKey[Path] = pytest.StashKey()
REPORTS: pytest.StashKey[tuple[Path, ...]] = pytest.StashKey()
