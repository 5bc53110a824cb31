"""Joins the experiment (``dipddpm``) and the measurement (``dipddpm.measure``) for pytest. Options live here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dipddpm.arms import Arm
from dipddpm.data import Dataset, open_dataset
from dipddpm.denoisers import open_denoiser
from dipddpm.errors import InputError
from dipddpm.experiment import Experiment
from dipddpm.measure.machine import machine
from dipddpm.measure.record import Run
from dipddpm.measure.session import RUN
from dipddpm.measure.store import Store
from dipddpm.measure.timer import synchronised
from dipddpm.profiles import PROFILES, Profile, profile

pytest_plugins = ["dipddpm.measure.plugin"]

EXPERIMENT: pytest.StashKey[Experiment] = pytest.StashKey()
THRESHOLDS = {"psnr": [20.0, 22.0, 25.0], "ssim": [0.7, 0.8, 0.9]}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dipddpm")
    group.addoption("--profile", default="quick", help=f"how much to run: {', '.join(PROFILES)} (default: %(default)s)")
    group.addoption("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one (default: auto)")
    group.addoption(
        "--dataset", default="photo-patches", metavar="NAME",
        help="photo-patches, cifar10, or folder:PATH with your own images (default: %(default)s)",
    )  # fmt: skip
    group.addoption("--data-root", type=Path, metavar="DIR", help="where downloaded data sets lie")
    group.addoption(
        "--denoiser", default="unet", metavar="NAME",
        help="unet (the shipped checkpoint) or unet:FILE.safetensors (default: %(default)s)",
    )  # fmt: skip
    group.addoption("--seed", type=int, default=0, help="seed of every random draw (default: %(default)s)")


def open_device(name: str) -> torch.device:
    """The device of that name; ``auto`` takes CUDA where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name!r} is not available here: choose cpu, cuda or auto") from error
    return device


def open_experiment(config: pytest.Config) -> Experiment:
    """The experiment that the options describe."""
    option = config.getoption
    device = open_device(option("device"))
    chosen: Profile = profile(option("profile"))
    dataset: Dataset = open_dataset(option("dataset"), option("data_root"))
    denoiser = open_denoiser(option("denoiser"), device)
    store = Store(option("cache"), device)
    experiment = Experiment(
        chosen, dataset, denoiser, store.measured, seed=option("seed"), device=device, clock=synchronised
    )
    experiment.images("test"), experiment.images("validation")  # missing data is bad input, not a failing cell
    config.stash[RUN] = Run(
        title="Does a Deep Image Prior start pay for itself?",
        settings={
            "profile": chosen.name,
            "data": f"{dataset.label}, {chosen.images} test and {chosen.validation_images} validation images",
            "denoiser": f"{denoiser.name} {denoiser.fingerprint}",
            "seed": option("seed"),
            "device": str(device),
        },
        primary="psnr",
        thresholds=THRESHOLDS,
        grid=list(chosen.budgets),
        machine=machine(),
    )
    return experiment


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A suite names the axes it asks about as arguments; the profile fills them."""
    axes = {"task", "architecture", "arm_at"} & set(metafunc.fixturenames)
    if not axes or not metafunc.module.__name__.startswith("bench_"):
        return
    experiment = _experiment(metafunc.config)
    p = experiment.profile
    if "task" in axes:
        metafunc.parametrize("task", p.tasks)
    if "architecture" in axes:
        metafunc.parametrize("architecture", p.architectures)
    if "arm_at" in axes:
        cells = experiment.cells()
        metafunc.parametrize("arm_at", cells, ids=[cell_id(arm, budget) for arm, budget in cells])


def cell_id(arm: Arm, budget: int) -> str:
    """How ``-k`` finds a cell: ``dip-skip-100-at-5``."""
    return f"{arm.label.replace(' ', '-')}-at-{budget}" if budget else f"{arm.label.replace(' ', '-')}-alone"


def _experiment(config: pytest.Config) -> Experiment:
    if EXPERIMENT not in config.stash:
        try:
            config.stash[EXPERIMENT] = open_experiment(config)
        except InputError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[EXPERIMENT]


@pytest.fixture(scope="session")
def experiment(request: pytest.FixtureRequest) -> Experiment:
    """The experiment of this session."""
    return _experiment(request.config)
