"""Joins the experiment (``dipddpm``) and the measurement (``dipddpm.measure``) for pytest. Options live here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from dipddpm.data import open_dataset
from dipddpm.denoisers import open_denoiser
from dipddpm.denoisers.unet import WEAKER
from dipddpm.device import open_device
from dipddpm.dip import architecture
from dipddpm.errors import InputError
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.generation import generation_cells
from dipddpm.experiments.judging import Judging
from dipddpm.experiments.profiles import AXES, PROFILES, profile
from dipddpm.experiments.restoration import Cell, Experiment
from dipddpm.experiments.training_quality import Learning
from dipddpm.experiments.training_runs import Learner
from dipddpm.measure.content import digest
from dipddpm.measure.instruments.allocator import keep_freed
from dipddpm.measure.instruments.machine import machine
from dipddpm.measure.instruments.timer import synchronised
from dipddpm.measure.record import Measure, Record, RecordRole, Run
from dipddpm.measure.store import Store
from dipddpm.metrics import metrics
from dipddpm.restore import Setting
from dipddpm.session.figures import RUN
from dipddpm.tasks import task

pytest_plugins = ["dipddpm.session.plugin"]

EXPERIMENTS: pytest.StashKey[list[Experiment]] = pytest.StashKey()
THRESHOLDS = {"psnr": [20.0, 22.0, 25.0], "ssim": [0.7, 0.8, 0.9]}
# Axes whose values add cells and leave those alone that are there. Every other axis decides all results.
ADDING = {
    "name", "seeds", "tasks", "architectures", "few_architectures", "leaking_architectures", "iterations", "budgets",
    "noise_budgets", "grid_t0s", "grid_budgets", "batch_sizes", "generation_architectures", "generation_iterations",
    "generation_t0s", "generation_budgets", "generation_noise_budgets", "training_tasks", "training_updates",
}  # fmt: skip


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
        help="unet, unet:FILE.safetensors or diffusers:FOLDER_OR_HUB_NAME (default: %(default)s)",
    )  # fmt: skip
    group.addoption(
        "--axis", action="append", default=[], metavar="NAME=VALUE,VALUE",
        help=f"replace an axis of the profile, may be repeated; names: {', '.join(AXES)}",
    )  # fmt: skip
    group.addoption(
        "--extractor", default="embedded64", metavar="NAME",
        help="what FD and KID see images with: embedded64, embedded64:FILE, inception-v3 or inception-v3:WEIGHTS "
        "(default: %(default)s)",
    )  # fmt: skip
    group.addoption("--seed", type=int, default=0, help="seed of every random draw (default: %(default)s)")


def open_experiments(config: pytest.Config) -> list[Experiment]:
    """The experiments that the options describe, one a seed; the run that their records go to is opened with them."""
    option = config.getoption
    keep_freed()
    device = open_device(option("device"))
    chosen = profile(option("profile")).override(option("axis"))
    denoiser = open_denoiser(option("denoiser"), device)
    dataset = open_dataset(option("dataset"), option("data_root"), denoiser.size)
    store = Store(option("cache"), device)
    seeds = [option("seed") + repeat for repeat in range(chosen.seeds)]
    experiments = [
        Experiment(
            chosen, dataset, denoiser, store.measured,
            seed=seed, tuning_seed=option("seed"), device=device, clock=synchronised,
        )
        for seed in seeds
    ]  # fmt: skip
    if min(chosen.t0s) >= (T := denoiser.schedule.T):
        raise InputError(
            f"t0 of {', '.join(map(str, chosen.t0s))}: the denoiser has steps 0..{T - 1}; lower --axis t0="
        )
    # Wrong input is said before anything runs, and not as the failure of some cell.
    experiments[0].images("test"), experiments[0].images("validation")
    for name in (*chosen.tasks, *chosen.training_tasks):
        task(name)
        for architecture_name in chosen.architectures_for(name):
            architecture(architecture_name)
    for name in (chosen.training_architecture, *chosen.generation_architectures):
        architecture(name)
    if option("extractor") != "embedded64":
        from dipddpm.extractors import open_extractor  # here: torch-fidelity takes seconds to import

        open_extractor(option("extractor"))
    config.stash[RUN] = Run(
        title="Does a Deep Image Prior start pay for itself?",
        settings={
            "profile": " ".join([chosen.name, *option("axis")]),
            "data": f"{dataset.label}, {chosen.images} test and {chosen.validation_images} validation images",
            "denoiser": f"{option('denoiser').partition(':')[0]} {denoiser.fingerprint}",
            "tuned on": f"the validation split, images {digest(experiments[0].images('validation').keys)}",
            "seeds": ", ".join(str(seed) for seed in seeds),
            "device": str(device),
        },
        primary="psnr",
        thresholds=THRESHOLDS,
        grid=list(chosen.budgets),
        comparator="noise",
        margin=0.5,
        stages=["dip", "diffusion"],
        machine=machine(),
        config={name: value for name, value in asdict(chosen).items() if name not in ADDING}
        | {"first architecture": chosen.architectures[0], "longest DIP": chosen.iterations[-1]},
    )
    return experiments


def pytest_sessionstart(session: pytest.Session) -> None:
    """Bad options end a benchmark session here, in one line, and not once in every suite."""
    config = session.config
    bench = config.rootpath / "bench"
    asked = [(config.invocation_params.dir / arg.split("::")[0]).resolve() for arg in config.args]
    if any(path == bench or bench in path.parents for path in asked):
        _experiments(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A suite names the axes that it asks about as arguments; the profile fills them."""
    names = metafunc.fixturenames
    if "experiment" not in names or not metafunc.module.__name__.startswith("bench_"):
        return
    experiments = _experiments(metafunc.config)
    seeds = [f"seed{e.seed}" for e in experiments] if len(experiments) > 1 else [pytest.HIDDEN_PARAM]
    metafunc.parametrize("experiment", experiments, ids=seeds, scope="session")
    first, p = experiments[0], experiments[0].profile
    if "arm_at" in names:
        asks = metafunc.module.asks  # which arms a suite is about
        cells = [(name, arm, nfe) for name in p.tasks for arm, nfe in first.cells(name) if asks(arm, p)]
        metafunc.parametrize("arm_at", cells, ids=[f"{name}-{cell_id(arm, nfe)}" for name, arm, nfe in cells])
    elif "sampled" in names:
        listed = generation_cells(p, first.denoiser.schedule.T)
        ids = [f"{cell_id(arm, nfe)}{f'-t0-{t0}' if t0 else ''}" for arm, nfe, t0 in listed]
        metafunc.parametrize("sampled", listed, ids=ids)
    elif "t0_at" in names:
        t0s = [t0 for t0 in p.grid_t0s if t0 < first.denoiser.schedule.T]
        grid = [(t0, nfe) for t0 in t0s for nfe in p.grid_budgets if nfe <= t0 + 1]
        metafunc.parametrize("t0_at", grid, ids=[f"{p.tasks[0]}-t0-{t0}-at-{nfe}" for t0, nfe in grid])
    elif "focus" in names:
        metafunc.parametrize("focus", [name for name in p.tasks if task(name).leak == "none"])
    elif "learner_at" in names or "start_at" in names:
        axis = "learner_at" if "learner_at" in names else "start_at"
        points = training_points(first, axis)
        metafunc.parametrize(axis, points, ids=[f"{t}-{getattr(a, 'name', a)}-after-{u}" for t, a, u in points])
    elif "batch" in names:
        metafunc.parametrize("batch", p.batch_sizes)
    elif "checkpoint" in names:
        metafunc.parametrize("checkpoint", WEAKER if metafunc.config.getoption("denoiser") == "unet" else ())
    elif "architecture" in names:
        pairs = [(name, a) for name in p.tasks for a in p.architectures_for(name)]
        metafunc.parametrize("task, architecture", pairs, ids=[f"{name}-{a}" for name, a in pairs])


def cell_id(arm: Arm, budget: int) -> str:
    """How ``-k`` finds a cell: ``dip-skip-100-at-5``."""
    return f"{arm.label.replace(' ', '-')}-at-{budget}" if budget else f"{arm.label.replace(' ', '-')}-alone"


def training_points(experiment: Experiment, axis: str) -> list[tuple[str, Learner | str, int]]:
    """(task, arm, updates) of the training suite, run by run: an arm's checkpoints follow each other."""
    learning, p = Learning(experiment), experiment.profile
    if axis == "learner_at":
        return [(t, a, u) for t in p.training_tasks for a in learning.learners(t) for u in learning.checkpoints]
    return [(t, s, u) for t in p.training_tasks for u in p.training_updates for s in ("noise", "dip", "control")]


def _experiments(config: pytest.Config) -> list[Experiment]:
    if EXPERIMENTS not in config.stash:
        try:
            config.stash[EXPERIMENTS] = open_experiments(config)
        except InputError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[EXPERIMENTS]


@pytest.fixture(scope="session")
def learning(experiment) -> Learning:
    """The training comparison of an experiment."""
    return Learning(experiment)


@pytest.fixture(scope="session")
def judging(learning, request) -> Judging:
    """The same comparison, with restorations judged as populations."""
    return Judging(learning, request.config.getoption("extractor"))


@pytest.fixture
def extractor(request) -> str:
    """The feature extractor, as ``open_extractor`` takes it."""
    return request.config.getoption("extractor")


@pytest.fixture
def record_cell(record, experiment) -> Callable[..., None]:
    """Adds a cell of the experiment to the run, as a record that every table and figure understands."""

    def add(
        suite: str, task_name: str, arm: Arm, cell: Cell, group: str = "", name: str = "",
        role: RecordRole | None = None, **axes: object,
    ) -> None:  # fmt: skip
        s, alone, leak = cell.setting, cell.setting.nfe == 0, task(task_name).leak
        record(
            Record(
                suite=suite,
                group=group or task_name,
                arm=name or (f"{arm.label} alone" if alone else arm.label),
                role=role or ("part" if alone and arm.role == "treatment" else arm.role),
                family=arm.architecture,
                budget=s.nfe,  # what was asked for; what happened is counted below, and exact
                chosen=cell.chosen,
                axes={
                    "prior": arm.prior,
                    "architecture": arm.architecture,
                    "iterations": cell.iterations,
                    "stopping": arm.stopping,
                    "output": arm.output,
                    "setting": "" if alone else describe(s),
                    **asdict(s),
                    **axes,
                },
                measures={
                    name: Measure(m.unit, m.higher_is_better, m.kind, cell.scores[name])
                    for name, m in metrics().items()
                }
                | {"nfe": Measure("", False, "structure", [cell.nfe])},
                seconds=cell.seconds,
                units={"dip": cell.iterations, "diffusion": cell.nfe},
                memory=cell.memory,
                validation=cell.validation,
                repeat=experiment.seed,
                leak=arm.leak if leak == "none" else leak,
                seeds={"seed": experiment.seed, "derived from": "seed, task, purpose and image"},
                items=experiment.images("test").keys,
            )
        )

    return add


@pytest.fixture
def restored(experiment, run_once, record_cell) -> Callable[[str, Arm, int], None]:
    """Runs and records one cell of the table that all restoration suites fill."""

    def measure(task_name: str, arm: Arm, budget: int) -> None:
        record_cell("restoration", task_name, arm, experiment.cell(task_name, arm, budget, run_once))

    return measure


def describe(s: Setting) -> str:
    """A setting in a few words: ``t0 200, ddim eta 1 x5``."""
    parts = [f"ddim eta {s.eta:g}" if s.sampler == "ddim" else s.sampler]
    if s.travel > 1:
        parts[0] += f" x{s.travel}"
    if s.injection not in ("none", "raw"):
        parts.insert(0, f"t0 {s.t0}")
    if s.strength != 1:
        parts.append(f"strength {s.strength:g}")
    if not s.held:
        parts.append("not held to y")
    return ", ".join(parts)
