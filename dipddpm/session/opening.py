"""What the options of a session name: its experiments, and the run that their records go to."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence

from dipddpm.data import open_dataset
from dipddpm.data.split_leaks import leaks_of_splits, warn_of_leaks
from dipddpm.denoisers import open_denoiser
from dipddpm.device import default_precision, open_device
from dipddpm.dip import architecture_class
from dipddpm.errors import InputError
from dipddpm.experiments.arms import RestorationAxes
from dipddpm.experiments.profiles import Profile, profile
from dipddpm.experiments.recipes import count_by
from dipddpm.extractors import DEFAULT, NamedExtractor
from dipddpm.fitting import fitting_method
from dipddpm.measure.content import digest
from dipddpm.measure.instruments.allocator import keep_freed
from dipddpm.measure.instruments.machine import machine
from dipddpm.measure.instruments.timer import synchronised
from dipddpm.measure.record import Run
from dipddpm.measure.store import Store
from dipddpm.memo import Memo
from dipddpm.metrics import metric
from dipddpm.priors import COMPARATOR
from dipddpm.session.experiments import Experiments
from dipddpm.stopping import stopping_rule_class
from dipddpm.tasks import task

THRESHOLDS = {"psnr": [20.0, 22.0, 25.0], "ssim": [0.7, 0.8, 0.9]}
LARGEST_SEED = 2**62  # repeats add to it, and torch takes 63 bits
MARGIN = 0.5  # dB below what the comparator reaches: the relative level of steps to a threshold


def open_experiments(option: argparse.Namespace, memo: Memo | None = None) -> list[Experiments]:
    """The experiments that the options describe, one per seed.

    Args:
        memo: who keeps their results; by default the store of ``--cache``.

    Raises:
        InputError: an option that names nothing; said before anything runs, and not as the failure of some cell.
    """
    check_given(option)
    keep_freed()
    if not gc.get_freeze_count():
        # Imported modules are never freed, so that the garbage collector need not walk through them each time. This is
        # done once in a process: objects that an earlier session left behind must still be collected.
        gc.freeze()
    device = open_device(option.device)
    chosen = profile(option.profile).override(option.axis)
    denoiser = open_denoiser(option.denoiser, device, option.precision, option.compile)
    dataset = open_dataset(option.dataset, option.data_root, denoiser.size)
    extractor = NamedExtractor(option.extractor, device)
    store = Store(option.cache, device)
    memo = memo or store.measured
    count_by(store.measured)
    _check_budgets(chosen.restoration, denoiser.schedule.T)
    opened = [
        Experiments(
            chosen, dataset, denoiser, memo, seed=option.seed + repeat, tuning_seed=option.seed,
            device=device, clock=synchronised, extractor=extractor,
        )
        for repeat in range(chosen.seeds)
    ]  # fmt: skip
    _check_names(chosen)
    if min(chosen.restoration.t0s) >= (T := denoiser.schedule.T):
        t0s = ", ".join(map(str, chosen.restoration.t0s))
        raise InputError(f"t0 of {t0s}: the denoiser has steps 0..{T - 1}; lower --axis t0=")
    opened[0].fits.images("test"), opened[0].fits.images("validation")
    if option.extractor != DEFAULT:  # the shipped one is known to open, which takes seconds
        _ = extractor.opened
    return opened


def check_given(option: argparse.Namespace) -> None:
    """Raise InputError where an option of a session has a value that nothing can be done with, or has no use."""
    if not 0 <= option.seed <= LARGEST_SEED:
        raise InputError(f"--seed {option.seed}: choose a whole number from 0 to {LARGEST_SEED}")
    if option.data_root and option.dataset.partition(":")[0] in ("folder", "photo-patches"):
        raise InputError("--data-root would not be used: it needs a data set that is downloaded, such as cifar10")
    if getattr(option, "dedicated", False) and not getattr(option, "baseline", None):
        raise InputError("--dedicated would not be used: it needs a baseline to compare with, --baseline")


def _check_budgets(axes: RestorationAxes, T: int) -> None:
    """Raise InputError for evaluations that no solver has a use for: they would be no cell of any arm."""
    travels = [travel for _, _, travel in (*axes.solvers, *axes.noise_solvers)]
    most = T * max(travels) * max(axes.samples)
    asked = {"nfe": axes.budgets, "noise.nfe": axes.noise_budgets, "offer": axes.offers, "grid.nfe": axes.grid_budgets}
    for name, budgets in asked.items():
        if budgets and max(budgets) > most:
            raise InputError(
                f"--axis {name}={max(budgets)}: the denoiser has {T} steps, and no solver of the profile a use for "
                f"more than {most} evaluations"
            )


def _check_names(chosen: Profile) -> None:
    """Everything that a profile names exists, and the judges have what they need."""
    for name in chosen.restoration.judges:
        metric(name).check()
    for name in (*chosen.restoration.tasks, *chosen.training.tasks):
        task(name)
        for recipe in chosen.restoration.recipes_for(name):
            architecture_class(recipe.architecture), fitting_method(recipe.way)
    for name in chosen.restoration.rules:
        stopping_rule_class(name)
    for architecture in (chosen.training.architecture, *chosen.generation.architectures):
        architecture_class(architecture)


def _unusual(experiments: Experiments) -> dict[str, object]:
    """How the denoiser is run, where that is not the default of the device: settings that no older run has."""
    denoiser, default = experiments.denoiser, default_precision(experiments.device)
    precision = {"precision": denoiser.precision} if denoiser.precision not in ("", default) else {}
    return precision | ({"compiled": True} if denoiser.compiled else {})


def describe_run(option: argparse.Namespace, opened: Sequence[Experiments]) -> Run:
    """The run that the records of a session go to."""
    first = opened[0]
    chosen, axes = first.profile, first.profile.restoration
    photographs = len(set(first.fits.images("test").photographs))
    leaks = leaks_of_splits(first.dataset, first.memo)
    warn_of_leaks(first.dataset.label, leaks)
    counts = f"{axes.images} test images of {photographs} photographs, {axes.validation_images} validation images"
    return Run(
        title="Does a Deep Image Prior start pay for itself?",
        settings={
            "profile": " ".join([chosen.name, *option.axis]),
            "data": f"{first.dataset.label}, {counts}",
            "denoiser": f"{option.denoiser.partition(':')[0]} {first.denoiser.fingerprint.partition('+')[0]}",
            **_unusual(first),
            "tuned on": f"the validation split, images {digest(first.fits.images('validation').keys)}",
            "seeds": ", ".join(str(experiments.seed) for experiments in opened),
            "device": str(first.device),
            **({"not in this profile": chosen.elsewhere} if chosen.elsewhere else {}),
        },
        judges=list(axes.judges),
        thresholds=THRESHOLDS,
        grid=list(axes.budgets),
        comparator=COMPARATOR,
        margin=MARGIN,
        stages=["dip", "diffusion"],
        machine=machine(),
        config=chosen.decides(),
        splits=leaks,
    )
