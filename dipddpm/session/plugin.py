"""The pytest side of the measurement: options, fixtures, and the report at the end of a session.

A ``conftest.py`` that has something to measure puts a ``Run`` under ``config.stash[RUN]``; without one, this plugin
does nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pytest

from dipddpm.measure.content import own_digest, read_sources
from dipddpm.measure.exit_codes import CANNOT_WRITE, DIVERGED, HOLDS, MEANINGS
from dipddpm.measure.files import CannotWrite, check_writable, tidy
from dipddpm.measure.gate.keys import key_of
from dipddpm.measure.gate.session_gate import GATE, Gate, partial, selection
from dipddpm.measure.instruments.timer import synchronised
from dipddpm.measure.record import INTERRUPTED, UNFINISHED, Measure, Record
from dipddpm.paths import given_path
from dipddpm.session.failures import final_code, note_failure
from dipddpm.session.figures import Figures
from dipddpm.session.reporting import write_report
from dipddpm.session.stash import CANNOT, FIGURES, REPORT, RERUNS, RUN, RUN_FILE

pytest_plugins = ["dipddpm.session.exits", "dipddpm.session.limits", "dipddpm.session.tracking"]
SAVE_EVERY = 3.0  # seconds


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dipddpm", "dipddpm: does a DIP start pay for itself?")
    group.addoption(
        "--results", type=given_path, metavar="DIR",
        help="folder for the raw run and its report (default: .dipddpm/runs and reports/latest; "
        ".dipddpm/reports for a part of the suites, as -k selects it)",
    )  # fmt: skip
    group.addoption(
        "--cache", type=given_path, metavar="DIR", default=Path(".dipddpm/cache"),
        help="folder where fits and samples are found again by their content (default: %(default)s)",
    )  # fmt: skip
    group.addoption(
        "--baseline", type=given_path, metavar="FILE",
        help="compare with this baseline after the run. Exit codes: "
        + "; ".join(f"{code} {meaning}" for code, meaning in MEANINGS.items()),
    )  # fmt: skip
    group.addoption(
        "--dedicated", action="store_true",
        help="with --baseline: this machine does nothing else, so that times are held to 10 %% and not to 30 %%",
    )  # fmt: skip


@pytest.fixture
def run_once(request: pytest.FixtureRequest) -> Callable[[Callable[[], None]], None]:
    """Times one execution of a function through pytest-benchmark, with the synchronised clock.

    It asks for the ``benchmark`` fixture only when it is called, so that a cell found in the store is not reported as
    a benchmark that ran. That fixture accepts one function per test: further functions run without it.
    """
    ran = False

    def run(work: Callable[[], None]) -> None:
        nonlocal ran
        if ran:
            return work()
        ran, benchmark = True, request.getfixturevalue("benchmark")
        benchmark.pedantic(work, rounds=1, iterations=1, warmup_rounds=0)

    return run


class AddRecord(Protocol):
    """``record(made)``, or for a time that the gate may want to see confirmed ``record(made, again=measure)``."""

    def __call__(self, made: Record, again: Callable[[], Measure] | None = None) -> None: ...


@pytest.fixture
def record(request: pytest.FixtureRequest) -> AddRecord:
    """Adds a record to the run, and its means to pytest-benchmark's extra_info.

    The run file is brought up to date every few seconds: what a record was made of is in the store already.
    """

    def add(made: Record, again: Callable[[], Measure] | None = None) -> None:
        run, file = request.config.stash[RUN], request.config.stash[RUN_FILE]
        made = replace(made, origin=made.origin or request.module.__name__)
        run.records.append(made)
        if again:
            request.config.stash[RERUNS][key_of(made)] = again
        if not file.exists() or time.time() - file.stat().st_mtime > SAVE_EVERY:
            run.save(file)
        if "benchmark" in request.fixturenames or "benchmark" in request.node.funcargs:
            means = {name: sum(m.values) / len(m.values) for name, m in made.measures.items()}
            request.getfixturevalue("benchmark").extra_info.update(
                means | {"arm": made.arm, "group": made.group, "budget": made.budget, "seconds_per_image": made.cost}
            )

    return add


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Figures of the session: the report links what a suite adds."""
    return request.config.stash[FIGURES]


def pytest_configure(config: pytest.Config) -> None:
    files = (Path(argument.partition("::")[0]) for argument in config.args)
    suites = any(file.name.startswith("bench") for file in files)  # the folder bench, or files of it
    if suites and config.getoption("numprocesses", None):
        raise pytest.UsageError(
            "-n: a benchmark's processes would slow each other down, and each would write a run of its own; leave it "
            "out. `dipddpm sweep` with the same options computes on many workers, and pytest bench then reports"
        )
    results = config.getoption("results")
    # reports/latest is of whole runs: a table of one task would take the place of that of all
    reports = results or Path(".dipddpm/reports" if selection(config) else "reports/latest")
    # Names sort by time, to the microsecond; sessions on several machines have files of their own all the same.
    stamp = f"{datetime.now():%Y%m%d-%H%M%S-%f}-{secrets.token_hex(4)}"
    config.stash[RUN_FILE] = (results or Path(".dipddpm/runs")) / f"run-{stamp}.json"
    config.stash[FIGURES] = Figures(reports / "figures")
    config.stash[RERUNS] = {}
    baseline = config.getoption("baseline")
    if baseline and not config.getoption("collectonly"):
        config.stash[GATE] = Gate(baseline, reports, config.getoption("dedicated"))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if gate := session.config.stash.get(GATE, None):
        check_folders(session.config)
        gate.open()


def check_folders(config: pytest.Config) -> None:
    """Raise UsageError unless what the session makes can be written: said before any work."""
    if config.getoption("collectonly"):
        return
    folders = {
        "--results": {config.stash[RUN_FILE].parent, config.stash[FIGURES].folder.parent},
        "--cache": {config.getoption("cache")},
    }
    for option, named in folders.items():
        for folder in sorted(named):
            try:
                check_writable(folder)
            except CannotWrite as error:
                raise pytest.UsageError(f"{error}: choose another {option}") from error


@pytest.hookimpl(tryfirst=True)  # before -k deselects: a suite that is there is not gone
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    run = config.stash.get(RUN, None)
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "run_once" in fixtures:
            item.add_marker(pytest.mark.benchmark(timer=synchronised))
        suite = item.module if isinstance(item, pytest.Function) and {"record", "figures"} & set(fixtures) else None
        if run is not None and suite and suite.__name__ not in run.origins:
            run.origins[suite.__name__] = own_digest(suite.__name__)  # not what it measures


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    run = collector.config.stash.get(RUN, None)
    if report.failed:
        note_failure(collector.config, report.nodeid, report.longreprtext.strip().rpartition("\n")[2])
    if run is not None and report.skipped and isinstance(collector, pytest.Module):
        run.origins.setdefault(collector.path.stem, "skipped")  # there, but it lacks what it needs: it is not gone
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    run = session.config.stash.get(RUN, None)
    if run is not None:
        check_folders(session.config)
        for folder in (session.config.getoption("cache"), session.config.stash[RUN_FILE].parent):
            tidy(folder)  # what writes that were killed a day ago left behind
        run.selected = UNFINISHED  # until the end: a session that is killed leaves it in its file
        read_sources()
    if gate := session.config.stash.get(GATE, None):
        gate.check(run)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    stash = session.config.stash
    run, gate = stash.get(RUN, None), stash.get(GATE, None)
    decides = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
    if run is not None:
        run.failed, run.selected = session.testsfailed, partial(session) if decides else INTERRUPTED
    try:
        if run is not None and decides:
            session.exitstatus = final_code(run, exitstatus)
        if gate and decides:  # not where the session was interrupted: it has an exit code of its own
            reruns = stash[RERUNS]
            code = gate.close(run, reruns)
            session.exitstatus = DIVERGED if code == HOLDS and run is not None and run.diverged else code
        if run is not None and run.records:
            run.save(stash[RUN_FILE])
            if not run.broken_off:
                stash[REPORT] = write_report(run, stash[FIGURES])
    except OSError as error:
        stash.setdefault(CANNOT, str(error))
        session.exitstatus = CANNOT_WRITE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    run, report = config.stash.get(RUN, None), config.stash.get(REPORT, None)
    if why := config.stash.get(CANNOT, None):
        terminalreporter.section("not written")
        terminalreporter.write_line(f"{why}: what was finished before is in {config.getoption('cache')}")
        terminalreporter.write_line("the same command goes on from there, once there is room")
    elif run is not None and report is not None:
        terminalreporter.section("leaderboard")
        terminalreporter.write_line(report.terminal)
        terminalreporter.write_line("")
        for path in (*report.files, config.stash[FIGURES].folder, config.stash[RUN_FILE]):
            terminalreporter.write_line(f"wrote {path}")
    elif run is not None and run.records:
        file = config.stash[RUN_FILE]
        terminalreporter.section("leaderboard")
        terminalreporter.write_line(f"wrote {file}")
        terminalreporter.write_line(
            f"interrupted: tables and figures stay as they were; `dipddpm report {file}` makes them from what was run"
        )
    if gate := config.stash.get(GATE, None):
        terminalreporter.section("baseline gate")
        for line in gate.messages:
            terminalreporter.write_line(line)
