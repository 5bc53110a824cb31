"""The pytest side of the measurement: options, fixtures, and the report at the end of a session.

A ``conftest.py`` that has something to measure puts a ``Run`` under ``config.stash[RUN]``; without one, this plugin
does nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from dipddpm.measure.content import digest, source_digest
from dipddpm.measure.leaderboard import frame
from dipddpm.measure.record import Record, Run
from dipddpm.measure.report import terminal, write
from dipddpm.measure.session import FIGURES, REPORTS, RUN, RUN_FILE, TABLE, Figures
from dipddpm.measure.timer import synchronised

SAVE_EVERY = 3.0  # seconds


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dipddpm", "dipddpm: does a DIP start pay for itself?")
    group.addoption(
        "--results", type=Path, metavar="DIR",
        help="folder for the raw run and its report (default: .dipddpm/runs and reports)",
    )  # fmt: skip
    group.addoption(
        "--cache", type=Path, metavar="DIR", default=Path(".dipddpm/cache"),
        help="folder where fits and samples are found again by their content (default: %(default)s)",
    )  # fmt: skip


@pytest.fixture
def run_once(request: pytest.FixtureRequest) -> Callable[[Callable[[], None]], None]:
    """Times one execution of a function through pytest-benchmark, with the synchronised clock.

    It asks for the ``benchmark`` fixture only when it is called, so that a cell found in the store is not reported as
    a benchmark that ran.
    """

    def run(work: Callable[[], None]) -> None:
        benchmark = request.getfixturevalue("benchmark")
        benchmark.pedantic(work, rounds=1, iterations=1, warmup_rounds=0)

    return run


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[Record], None]:
    """Adds a record to the run, and its means to pytest-benchmark's extra_info.

    The run file is brought up to date every few seconds: what a record was made of is in the store already.
    """

    def add(made: Record) -> None:
        run, file = request.config.stash[RUN], request.config.stash[RUN_FILE]
        run.records.append(made)
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
    results = config.getoption("results")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    config.stash[RUN_FILE] = (results or Path(".dipddpm/runs")) / f"run-{stamp}.json"
    config.stash[FIGURES] = Figures((results or Path("reports")) / "figures")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "run_once" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.benchmark(timer=synchronised))


def pytest_sessionfinish(session: pytest.Session) -> None:
    stash = session.config.stash
    run, figures = stash.get(RUN, None), stash[FIGURES]
    if run is None or not run.records:
        return
    run.failed = session.testsfailed
    run.save(stash[RUN_FILE])
    code = source_digest(["dipddpm.measure.figures"])
    key = digest([code, [asdict(record) for record in run.records if record.role != "stage"]])
    figures.add("charts", key, lambda: _draw(run, figures.folder))
    figures.tidy()
    stash[TABLE] = frame(run)
    stash[REPORTS] = write(run, stash[TABLE], figures.folder.parent, figures.paths)


def _draw(run: Run, folder: Path) -> list[Path]:
    from dipddpm.measure.figures import draw  # here: a run whose figures are drawn needs no matplotlib

    return draw(run, folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    run, reports = config.stash.get(RUN, None), config.stash.get(REPORTS, None)
    if run is None or reports is None:
        return
    terminalreporter.section("leaderboard")
    terminalreporter.write_line(terminal(run, config.stash[TABLE]))
    terminalreporter.write_line("")
    for path in (*reports, config.stash[FIGURES].folder, config.stash[RUN_FILE]):
        terminalreporter.write_line(f"wrote {path}")
