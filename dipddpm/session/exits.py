"""How a session ends: each way has the exit code that ``measure.exit_codes`` documents, and failed cells their reason.

pytest's own codes mean something else here: its 1, 2, 3 and 4 (failed tests, interrupted, internal error, bad usage)
are a regression, bad input, no baseline and an undecided comparison of the gate.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Generator

import pytest

from dipddpm.measure.exit_codes import BAD_INPUT, CANNOT_WRITE, FAILED, INTERNAL, STOPPED
from dipddpm.measure.files import CannotWrite
from dipddpm.session.failures import note_failure
from dipddpm.session.stash import CANNOT, RUN

NOT_COLLECTED: pytest.StashKey[bool] = pytest.StashKey()
"""A suite could not even be imported, so that nothing ran."""


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """Translate the ways out of pytest."""
    try:
        code = yield
    except pytest.UsageError as error:
        for line in error.args:
            print(f"ERROR: {line}\n", file=sys.stderr)
        return BAD_INPUT
    except Exception:  # of a hook at the end of a session, where pytest catches none
        traceback.print_exc()
        return INTERNAL
    if code is pytest.ExitCode.INTERNAL_ERROR:
        return INTERNAL
    if code is pytest.ExitCode.INTERRUPTED:
        if CANNOT in config.stash:
            return CANNOT_WRITE
        run = config.stash.get(RUN, None)
        return FAILED if run is not None and NOT_COLLECTED in config.stash else STOPPED
    return code


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Give a session that cannot begin because a suite is broken another exit code than one that is interrupted."""
    try:
        return (yield)
    except session.Interrupted:
        if CANNOT not in session.config.stash and session.testsfailed:
            session.config.stash[NOT_COLLECTED] = True
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note why a cell failed; end the session where a file cannot be written, since all that follows would be lost."""
    report = yield
    if report.failed and call.excinfo is not None:
        note_failure(item.config, item.nodeid, call.excinfo.value)
        if isinstance(error := call.excinfo.value, CannotWrite):
            item.config.stash.setdefault(CANNOT, str(error))
            item.session.shouldstop = str(error)
    return report
