"""What a session says of cells that failed: their reasons, and its exit code."""

from __future__ import annotations

import pytest

from dipddpm.measure.exit_codes import DIVERGED, FAILED
from dipddpm.measure.record import Run
from dipddpm.session.stash import RUN

LONGEST = 300  # characters of a reason


def note_failure(config: pytest.Config, cell: str, error: BaseException | str) -> None:
    """Put a failed cell into the run with its reason in one line."""
    run = config.stash.get(RUN, None)
    if run is None:
        return
    text = str(error).strip() if isinstance(error, str | pytest.fail.Exception) else _said(error)
    line = " ".join(text.split())
    run.failures[cell] = line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def final_code(run: Run, exitstatus: int) -> int:
    """The exit code of a session that came to its end and has no baseline to be held to."""
    if exitstatus == pytest.ExitCode.TESTS_FAILED:
        return FAILED
    return DIVERGED if exitstatus == pytest.ExitCode.OK and run.diverged else exitstatus
