"""What trackers are told of a session: its records as they come, then the verdicts and the report.

Records are handed over between cells, when nothing is measured, and to a tracker that is not live at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean, median

import pytest

from dipddpm.errors import InputError
from dipddpm.measure.record import UNPAIRED, Record, Run
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.sentence import sentence
from dipddpm.report.verdict import verdict
from dipddpm.session.stash import REPORT, RUN, RUN_FILE
from dipddpm.trackers import Followers, Tracker, check_given, open_trackers, trackers

TRACKING: pytest.StashKey[Tracking] = pytest.StashKey()


class Tracking:
    """The trackers of a session, and how many of the records they have."""

    def __init__(self, followers: Followers):
        self.followers = followers
        self.told = 0

    def tell_new(self, run: Run) -> None:
        """Hand the records that are new to the trackers that are live."""
        new, self.told = run.records[self.told :], len(run.records)
        for record in new:
            if values := numbers(record, run):
                self.followers.tell(lambda t, v=values, r=record: t.numbers(v, r.budget), live=True)  # type: ignore[misc]

    def close(self, run: Run, files: list[Path]) -> None:
        """Hand over what is left, and end."""
        self.tell_new(run)
        told = {name: str(value) for name, value in run.settings.items()}
        told |= {f"machine {name}": str(value) for name, value in run.machine.items() if value is not None}
        said = verdicts(run)
        every = [(values, record.budget) for record in run.records if (values := numbers(record, run))]

        def late(tracker: Tracker) -> None:
            for values, step in every:
                tracker.numbers(values, step)

        def rest(tracker: Tracker) -> None:
            tracker.settings(told)
            tracker.texts(said)
            tracker.files([path for path in files if path.is_file()])

        self.followers.tell(late, live=False)
        self.followers.tell(rest)
        self.followers.close()


def numbers(record: Record, run: Run) -> dict[str, float]:
    """What trackers show of a record, by names that are paths; its budget is their step.

    Where several judges chose settings for an arm, only the setting that the primary judge chose is told.
    """
    if not record.seen_by(run.primary):
        return {}
    what = record.role if record.role in UNPAIRED else "quality"
    arm = record.arm + (f" seed {record.repeat}" if "," in str(run.settings.get("seeds", "")) else "")
    place = "/".join([what, *([record.suite] if what == "stage" else []), record.group, arm])
    values = {f"{place}/{name}": _one(m.values, m.kind == "timing") for name, m in record.measures.items() if m.values}
    if record.cost:
        values[f"{place}/seconds per image"] = record.cost
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _one(values: object, timing: bool) -> float:
    return median(values) if timing else fmean(values)  # type: ignore[call-overload, arg-type]


def verdicts(run: Run) -> dict[str, str]:
    """{verdict/task: the verdict in sentences}."""
    comparisons = Comparisons(run)
    groups = dict.fromkeys(sample.record.group for sample in comparisons.samples)
    judged = [g for g in groups if any(comparisons.candidates(g, judge) for judge in run.judges)]
    return {f"verdict/{group}": sentence(verdict(comparisons, group), run) for group in judged}


# Hooks


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dipddpm")
    for name, kind in trackers().items():
        group.addoption(f"--{name}", metavar=kind.takes, help=kind.meaning.replace("%", "%%"))


def asked(config: pytest.Config) -> Mapping[str, object]:
    """The options of trackers that were given."""
    return {name: config.getoption(name, None) for name in trackers()}


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """End the session before any work if the client library of a tracker is missing."""
    try:
        check_given(asked(session.config))
    except InputError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    config = session.config
    if config.stash.get(RUN, None) is None or config.getoption("collectonly") or not any(asked(config).values()):
        return
    try:
        config.stash[TRACKING] = Tracking(open_trackers(asked(config), _title(config)))
    except InputError as error:
        raise pytest.UsageError(str(error)) from error


def _title(config: pytest.Config) -> str:
    return f"{config.stash[RUN].settings.get('profile', 'run')} {config.stash[RUN_FILE].stem.removeprefix('run-')}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """After a cell and the teardown of its fixtures, hand its records to the trackers before the next cell begins."""
    done = yield
    if tracking := item.config.stash.get(TRACKING, None):
        tracking.tell_new(item.config.stash[RUN])
    return done


@pytest.hookimpl(trylast=True)  # when paces are measured, and the report is written
def pytest_sessionfinish(session: pytest.Session) -> None:
    stash = session.config.stash
    tracking, report = stash.get(TRACKING, None), stash.get(REPORT, None)
    if tracking is not None:
        written = [*report.files, *report.figures] if report else []
        tracking.close(stash[RUN], [stash[RUN_FILE], *written])
