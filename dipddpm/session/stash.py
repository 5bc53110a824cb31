"""What the hooks of a session hand to each other, under ``config.stash``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dipddpm.measure.record import Measure, Run
from dipddpm.session.figures import Figures
from dipddpm.session.reporting import Report

RUN: pytest.StashKey[Run] = pytest.StashKey()
"""The run that records go to. Without one the plugin does nothing."""
RUN_FILE: pytest.StashKey[Path] = pytest.StashKey()
FIGURES: pytest.StashKey[Figures] = pytest.StashKey()
REPORT: pytest.StashKey[Report] = pytest.StashKey()
RERUNS: pytest.StashKey[dict[str, Callable[[], Measure]]] = pytest.StashKey()
"""{key of a baseline entry: measures its time again}, for what the gate wants to see confirmed."""
CANNOT: pytest.StashKey[str] = pytest.StashKey()
"""Which file could not be written amid the work, and why: the session ends."""
