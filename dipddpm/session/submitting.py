"""Submitting a run: it is checked in full, then written with what its report says of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from dipddpm import __version__
from dipddpm.measure.record import Run
from dipddpm.measure.submission import Submission
from dipddpm.report.quoted import disagreements, quoted
from dipddpm.session.submission_numbers import contradictions
from dipddpm.session.submission_plan import departures


def submission_of(run: Run, by: str = "") -> Submission:
    """A run as a submission of today by this version; :func:`complaints` says whether it can be one."""
    return Submission(run, __version__, time.strftime("%Y-%m-%d", time.gmtime()), by, quoted(run))


def complaints(run: Run) -> Iterator[str]:
    """Why a run is not submitted, a line each; none of a run that is whole, agrees with itself and was made as this
    version makes it."""
    if why := run.why_not_whole:
        yield f"{why}: run all suites of the profile without a failure"
        return
    yield from contradictions(run)
    yield from departures(run)


def unsound(one: Submission) -> Iterator[str]:
    """Why a submission of any version enters no table, a line each: its numbers contradict each other, or what it
    quotes is not what its records give."""
    if why := one.run.why_not_whole:
        yield why
        return
    found = list(contradictions(one.run))
    yield from found
    if not found:
        yield from disagreements(one.quoted, quoted(one.run))


def complaints_about(one: Submission, path: Path) -> Iterator[str]:
    """Why a submission is not taken in by this version, a line each."""
    if path.name != one.file_name:
        yield f"its name would be {one.file_name}"
    if one.version != __version__:
        yield f"made by version {one.version}, and this is {__version__}: check it with the version that made it"
        return
    yield from complaints(one.run)
    yield from disagreements(one.quoted, quoted(one.run))
