"""The pytest side of the experiments: options, the points of every suite, and what suites are handed.

A suite is a file ``bench_<question>.py``. A function in it that takes an argument ``NAME`` runs once for each of
``points_of_NAME(experiments)`` of the same file, a dictionary {name for ``-k``: value}, once per seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from dipddpm.device import PRECISIONS
from dipddpm.errors import InputError
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.profiles import PROFILES, all_axes
from dipddpm.experiments.restoration import Cell
from dipddpm.extractors import DEFAULT
from dipddpm.measure.escape import visible
from dipddpm.measure.instruments.machine import use_threads
from dipddpm.paths import given_path
from dipddpm.session.experiments import CellPoint, Experiments
from dipddpm.session.opening import describe_run, open_experiments
from dipddpm.session.plugin import check_folders
from dipddpm.session.records import diverged, restoration_record
from dipddpm.session.stage_paces import measured
from dipddpm.session.stash import CANNOT, RUN
from dipddpm.session.threads import remembered_threads

EXPERIMENTS: pytest.StashKey[list[Experiments]] = pytest.StashKey()
POINTS = "points_of_"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dipddpm")
    group.addoption("--profile", default="quick", help=f"how much to run: {', '.join(PROFILES)} (default: %(default)s)")
    group.addoption("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one (default: auto)")
    group.addoption(
        "--dataset", default="photo-patches", metavar="NAME",
        help="photo-patches, cifar10, or folder:PATH with your own images (default: %(default)s)",
    )  # fmt: skip
    group.addoption("--data-root", type=given_path, metavar="DIR", help="where downloaded data sets lie")
    group.addoption(
        "--denoiser", default="unet", metavar="NAME",
        help="unet, unet:FILE.safetensors, diffusers:FOLDER_OR_HUB_NAME, edm:MODULE:FUNCTION or flow:MODULE:FUNCTION "
        "(default: %(default)s)",
    )  # fmt: skip
    group.addoption(
        "--precision", default="", metavar="NAME",
        help=f"of the denoiser's products: {', '.join(PRECISIONS)} (default: tf32 on CUDA, else fp32)",
    )  # fmt: skip
    group.addoption("--compile", action="store_true", help="the denoiser through torch.compile")
    meanings = "; ".join(f"{option}: {declared.meaning}" for option, declared in all_axes().items())
    group.addoption(
        "--axis", action="append", default=[], metavar="NAME=VALUE,VALUE",
        help=f"replace an axis of the profile, may be repeated. {meanings}".replace("%", "%%"),
    )  # fmt: skip
    group.addoption(
        "--extractor", default=DEFAULT, metavar="NAME",
        help="what FD and KID see images with: embedded64, embedded64:FILE, efficientnet-lite0, inception-v3 or "
        "inception-v3:WEIGHTS "
        "(default: %(default)s)",
    )  # fmt: skip
    group.addoption(
        "--threads", type=int, metavar="N",
        help="of torch on the CPU; results of another number are other results (default: that of the sweep which "
        "filled the store with these options, else torch's own)",
    )  # fmt: skip
    group.addoption("--seed", type=int, default=0, help="seed of every random draw (default: %(default)s)")


def pytest_configure(config: pytest.Config) -> None:
    """Suites are found by their names, in whatever repository this plugin is loaded."""
    config.addinivalue_line("python_files", "bench_*.py")
    config.addinivalue_line("python_functions", "bench_*")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Bad options end a benchmark session here, in one line, and not once in every suite."""
    config = session.config
    asked = [(config.invocation_params.dir / arg.split("::")[0]).resolve() for arg in config.args]
    if any(path.name.startswith("bench_") or any(path.glob("bench_*.py")) for path in asked):
        check_folders(config)
        _experiments(config)


def _experiments(config: pytest.Config) -> list[Experiments]:
    """The experiments that the options describe, one per seed; the run that their records go to is opened with them."""
    if EXPERIMENTS not in config.stash:
        try:
            _choose_threads(config.option)
            config.stash[EXPERIMENTS] = opened = open_experiments(config.option)
            config.stash[RUN] = describe_run(config.option, opened)
        except InputError as error:
            raise pytest.UsageError(visible(str(error))) from error
    return config.stash[EXPERIMENTS]


def _choose_threads(option: argparse.Namespace) -> None:
    """Compute as asked, or as the results in the store were computed."""
    if option.threads is not None and option.threads < 1:
        raise InputError(f"--threads {option.threads}: write a whole number from 1")
    if threads := option.threads or remembered_threads(option):
        use_threads(threads)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Where a sweep decided on the number of threads, the session says so."""
    if EXPERIMENTS not in config.stash or config.option.threads or not remembered_threads(config.option):
        return []
    return [f"threads: {remembered_threads(config.option)}, as the sweep that filled {config.option.cache}"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A suite names what it asks about as an argument; its own ``points_of_...`` says which points there are."""
    if "experiments" not in metafunc.fixturenames or not metafunc.module.__name__.startswith("bench_"):
        return
    opened = _experiments(metafunc.config)
    seeds = [f"seed{e.seed}" for e in opened] if len(opened) > 1 else [pytest.HIDDEN_PARAM]
    metafunc.parametrize("experiments", opened, ids=seeds, scope="session")
    for name in metafunc.fixturenames:
        if points_of := getattr(metafunc.module, POINTS + name, None):
            points = points_of(opened[0])
            metafunc.parametrize(name, list(points.values()), ids=list(points))


@pytest.hookimpl(tryfirst=True)  # before the run is saved and reported
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """The paces of everything that was recorded, in one series on this machine, as it is now."""
    config = session.config
    run, opened = config.stash.get(RUN, None), config.stash.get(EXPERIMENTS, [])
    whole = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    if run is None or not run.records or not opened or not whole:
        return
    works = {at: work for experiments in reversed(opened) for at, work in experiments.paces.works.items()}
    try:
        run.paces = measured(works, opened[0].memo, opened[0].clock)
    except OSError as error:  # there is no room to keep them: the report does without, and says so
        config.stash.setdefault(CANNOT, str(error))


@pytest.fixture
def asked_for(request: pytest.FixtureRequest) -> None:
    """Skip a timing suite unless ``-k NAME`` or profile ``full`` asks for it: timing takes minutes, which a run with
    other questions should not spend."""
    name = request.module.__name__.removeprefix("bench_")
    given = [request.config.getoption("keyword"), *request.config.args]
    if request.config.getoption("profile") != "full" and not any(name in text for text in given):
        pytest.skip(f"takes its time: -k {name}, or --profile full")


@pytest.fixture
def record_cell(record, experiments) -> Callable[..., None]:
    """Adds a cell of the restoration experiment to the run; arguments are those of :func:`restoration_record`."""

    def add(task: str, arm: Arm, cell: Cell, **options: Any) -> None:
        # Only rows of a leaderboard need features of their images; images that diverged have no features.
        told = cell.chosen and not diverged(cell.x_hat, cell.scores)
        scores = experiments.restored_populations.scores(cell.x_hat) if told else {}
        record(restoration_record(experiments, task, arm, cell, population=scores, **options))

    return add


@pytest.fixture
def restored(experiments, run_once, record_cell) -> Callable[[CellPoint], None]:
    """Runs and records one arm at one budget, in the table that all restoration suites fill: a cell for each setting
    that a judge chose."""

    def measure(point: CellPoint) -> None:
        task, arm, nfe = point
        for cell in experiments.restoration.cells_at(task, arm, nfe, run_once):
            record_cell(task, arm, cell)

    return measure
