"""The points of the suites, as a session of pytest collects them; each can be tried again and again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from _pytest.outcomes import Skipped
from _pytest.runner import runtestprotocol

from dipddpm.errors import InputError
from dipddpm.measure.exit_codes import HOLDS, NOTHING, STOPPED
from dipddpm.measure.store import Call, Store, Stored
from dipddpm.memo import Execute, direct
from dipddpm.session.experiments import Experiments
from dipddpm.session.figures import Figures
from dipddpm.session.suites import EXPERIMENTS

OFF = ("terminal", "cacheprovider", "faulthandler", "logging")
"""Plugins of pytest that print, or take time at each attempt."""
TAKES_ITS_TIME = "asked_for"
"""The fixture of suites that take minutes to time this machine or compare with other libraries."""


class NotYet(Skipped):
    """A point asked for a result that is not there. As a skip it costs pytest no traceback."""


class Asking:
    """The memo of a sweep: it gives what the store has, and stops a point at what is not there.

    Attributes:
        asked: the call that the last point was stopped at, None where it was not.
    """

    def __init__(self, store: Store):
        self.store = store
        self.asked: Call | None = None

    def __call__(
        self,
        function: Callable[..., Mapping[str, object]],
        arguments: Mapping[str, object],
        *,
        aside: Mapping[str, object] | None = None,
        run: Execute = direct,
    ) -> Stored:
        call = self.store.call(function, arguments, aside)
        return self.store.find(call) or self._missing(call)

    def _missing(self, call: Call) -> Stored:
        """What is done about a call that is not in the store."""
        self.asked = call
        raise NotYet(call.key)


@dataclass(frozen=True)
class Attempt:
    """What came of running a point.

    Attributes:
        needs: the call whose result it lacks; None where it is done, or failed.
        error: why it failed.
    """

    needs: Call | None = None
    error: str = ""


class Points:
    """A pytest plugin that hands the collected points to ``sweep`` instead of running them one after the other.

    Args:
        opened: the experiments, one per seed; memo: theirs.
        sweep: is called with the points.
    """

    def __init__(self, opened: Sequence[Experiments], memo: Asking, sweep: Callable[[Points], None]):
        self.opened, self.memo, self.sweep = list(opened), memo, sweep
        self.items: list[pytest.Item] = []
        self.raised: BaseException | None = None

    def collect(
        self, session: Sequence[str], keyword: str = "", ours: Callable[[pytest.Item], bool] = lambda item: True
    ) -> None:
        """Collect the points of the suites and hand them to the sweep; what it raises is raised here.

        Args:
            session: what pytest is told to find the suites;
            keyword: as ``-k`` takes it; ours: whether a point is one of this sweep's.
        """
        self._ours = ours
        off = [word for name in OFF for word in ("-p", f"no:{name}")]
        code = pytest.main([*session, *off, "--capture=no", *(["-k", keyword] if keyword else [])], plugins=[self])
        if self.raised:
            raise self.raised
        if code == STOPPED:
            raise KeyboardInterrupt
        if code not in (HOLDS, NOTHING):
            raise InputError("the suites cannot be collected: `dipddpm bench --collect-only` says why")

    # Hooks

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[EXPERIMENTS] = self.opened
        config.pluginmanager.register(_Nowhere())  # after the plugins of the session, whose fixtures it replaces

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        quick = [item for item in items if TAKES_ITS_TIME not in getattr(item, "fixturenames", ())]
        items[:] = [item for item in quick if self._ours(item)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:  # a suite that cannot be imported
            return True
        self.items = session.items
        try:
            self.sweep(self)
        except BaseException as error:  # of the sweep, and not of pytest, which would end in a report of its own
            self.raised = error
        return True

    # Points

    def attempt(self, item: pytest.Item) -> Attempt:
        """Run a point with what the store has by now."""
        self.memo.asked = None
        reports = runtestprotocol(item, log=False, nextitem=None)
        if self.memo.asked:
            return Attempt(self.memo.asked)
        failed = next((report for report in reports if report.failed), None)
        return Attempt(error=str(failed.longrepr) if failed else "")


class _Nowhere:
    """Fixtures that discard what a suite records and draws, because a sweep only fills the store."""

    @pytest.fixture
    def record(self) -> Callable[..., None]:
        return lambda made, again=None: None

    @pytest.fixture
    def figures(self) -> Any:
        return _NoFigures()


class _NoFigures(Figures):
    """Figures of a report that nobody makes."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull))

    def add(self, name: str, key: str, draw: Callable[[], Sequence[Path]]) -> None:
        """Draw nothing."""


def is_left(call: Call) -> bool:
    """Whether a call is left to ``pytest bench``: functions that are defined in a suite file time this machine, or
    compare with a library that workers need not have."""
    return call.function.__module__.startswith("bench_")
