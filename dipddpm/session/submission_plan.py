"""Whether a run is what this version would have made: its suites, profile, leak tiers, images, and every planned cell.

Only the version that the run was made with can check this: another version has other suites and may plan other cells.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache

import torch

from dipddpm.data import datasets, open_dataset
from dipddpm.denoisers import Denoiser, open_denoiser
from dipddpm.errors import InputError
from dipddpm.experiments.fits import Fits
from dipddpm.experiments.profiles import Profile, profile
from dipddpm.experiments.restoration import Restoration
from dipddpm.measure.content import digest
from dipddpm.measure.gate.keys import key_of
from dipddpm.measure.instruments.timer import synchronised
from dipddpm.measure.record import UNPAIRED, Record, Run
from dipddpm.memo import Execute, Found, direct
from dipddpm.priors import COMPARATOR, prior, priors
from dipddpm.rng import image_keys
from dipddpm.session.opening import MARGIN, THRESHOLDS
from dipddpm.session.suite_files import code_of_suites, recording_suites
from dipddpm.stopping import stopping_rules
from dipddpm.tasks import tasks

DEVICE = torch.device("cpu")
SHIPPED = "photo-patches"


def departures(run: Run) -> Iterator[str]:
    """Everything in which a run is not what this version would have made of its profile, a line each."""
    try:
        name, *axes = str(run.settings.get("profile", "")).split() or [""]
        planned = profile(name).override(axes)
    except InputError as error:
        yield f"settings: profile: {error}"
        return
    yield from _suites(run)
    yield from _settings(run, planned)
    yield from _tiers(run)
    yield from _photographs(run, planned)
    yield from _missing(run, planned)


def _suites(run: Run) -> Iterator[str]:
    """The code of the suites is that of this version, and each that records left records."""
    for module, code in code_of_suites().items():
        found = run.origins.get(module, "absent")
        if found not in (code, "skipped"):
            why = "was not run" if found == "absent" else "has other code than in this version"
            yield f"suite {module}: {why}: run the suites again, or submit with the version that made the run"
    recorded = {record.origin for record in run.records}
    for module in recording_suites():
        if run.origins.get(module) not in (None, "skipped") and module not in recorded | _idle(run):
            yield f"suite {module}: was run, and none of its records are there"


def _idle(run: Run) -> set[str]:
    """Suites that have no points in the profile of a run."""
    name, *axes = str(run.settings.get("profile", "")).split()
    of = profile(name).override(axes)
    generated = of.generation.budgets or of.generation.noise_budgets
    return set() if generated else {"bench_generation"}


def _settings(run: Run, planned: Profile) -> Iterator[str]:
    """What decides all results is what the profile says, and the rule of the verdict is that of the protocol."""
    axes = planned.restoration
    if digest(run.config) != digest(planned.decides()):
        wanted = planned.decides()
        names = [n for n in dict.fromkeys([*wanted, *run.config]) if digest(run.config.get(n)) != digest(wanted.get(n))]
        yield f"config: not that of profile {run.settings['profile']!r}: {', '.join(names[:5])}"
    held: tuple[tuple[str, object, object], ...] = (
        ("judges", list(run.judges), list(axes.judges)),
        ("thresholds", run.thresholds, THRESHOLDS),
        ("grid", list(run.grid), list(axes.budgets)),
        ("comparator", run.comparator, COMPARATOR),
        ("margin", run.margin, MARGIN),
        ("stages", list(run.stages), ["dip", "diffusion"]),
    )
    for what, here, rule in held:
        if here != rule:
            yield f"{what}: {here!r:.80}, this version has {rule!r:.80}"


def _tiers(run: Run) -> Iterator[str]:
    """Every record has the leak tier and the role that follow from its prior, task and stopping rule: no leak is
    hidden, and no rival is declared to be anything else."""
    told: set[str] = set()
    for record in run.records:
        name, rule = str(record.axes.get("prior") or ""), str(record.axes.get("stopping") or "fixed")
        if record.role in ("stage", "training") or not name:
            continue
        if name not in priors() or (rule != "fixed" and rule not in stopping_rules()):
            unknown = f"prior {name!r:.60}" if name not in priors() else f"stopping rule {rule!r:.60}"
            if unknown not in told:
                yield f"{unknown} is unknown here, and with it what it may look at: install the package that brings it"
            told.add(unknown)
            continue
        leak, role = _tier(record, name, rule)
        if record.leak != leak:
            yield f"{key_of(record)}: leak {record.leak!r:.60}, {name} with {rule} has {leak!r}"
        if record.suite == "restoration" and record.role != role:
            yield f"{key_of(record)}: is called {record.role}, and {name} is {role}"


def _tier(record: Record, name: str, rule: str) -> tuple[str, str]:
    """Leak and role of an arm, as :class:`dipddpm.experiments.arms.Arm` has them, from the names of a record."""
    made = prior(name)
    own = stopping_rules()[rule].leak if rule != "fixed" else "none"
    leak = own if own != "none" else made.leak
    entered = record.axes.get("injection", made.injection.name) if record.budget else made.injection.name
    role = "bound" if leak != "none" else "ablation" if entered != made.injection.name else str(made.role)
    if role == "treatment" and not record.budget:
        role = "part"
    task = re.match(r"\w+", record.group)
    of_task = tasks()[task[0]].leak if task and task[0] in tasks() else "none"
    return of_task if of_task != "none" and record.role != "population" else leak, role


def _photographs(run: Run, planned: Profile) -> Iterator[str]:
    """No image is in two splits, and the test images are those of the data set, where it ships with the package."""
    if shared := run.splits.get("equal", 0):
        yield f"splits: {shared} pairs of equal images in different splits: a network may have seen what is tested"
    name = str(run.settings.get("data", "")).partition(",")[0]
    if name != SHIPPED or name not in datasets():
        return
    dataset = open_dataset(name, None, _shipped().size)
    count = planned.restoration.images
    keys, cut_from = image_keys(dataset.sample("test", count)), dataset.sample_photographs("test", count)
    for record in run.records:
        if record.role not in UNPAIRED and record.suite == "restoration":
            if (list(record.items), list(record.clusters)) != (list(keys), list(cut_from)):
                yield f"{key_of(record)}: its images are not the test images of {name}"
            return


def _missing(run: Run, planned: Profile) -> Iterator[str]:
    """Every cell that the profile plans is there, for every seed: otherwise leaving out a strong rival would win."""
    same = str(run.settings.get("denoiser", "")) == f"unet {_shipped().fingerprint.partition('+')[0]}"
    records = [r for r in run.records if r.suite == "restoration"]
    there = {(r.repeat, r.group, r.arm, r.budget if same else None) for r in records}
    repeats = sorted({record.repeat for record in run.records})
    if len(repeats) != planned.seeds:
        yield f"seeds: {len(repeats)} repeats, profile {run.settings['profile']!r} has {planned.seeds}"
    for task, name, budget in _cells(str(run.settings["profile"])):
        for repeat in repeats:
            if (repeat, task, name, budget if same else None) not in there:
                yield f"restoration / {task} / {name} / {budget} / {repeat}: planned by the profile, not in the run"


@cache
def _shipped() -> Denoiser:
    return open_denoiser("unet", DEVICE)


@cache
def _cells(given: str) -> tuple[tuple[str, str, int], ...]:
    """Task, arm and budget of every restoration cell of a profile with its axes. A prior that needs an extra is left
    out: another machine may lack it."""
    name, *axes = given.split()
    # Which cells there are depends on axes, tasks and schedule, and not on how many images there are.
    planned = profile(name).override([*axes, "images=1", "validation_images=1"]).restoration
    dataset, shipped = open_dataset(SHIPPED, None, _shipped().size), _shipped()
    fits = Fits(
        planned, dataset, _none_kept, seed=0, tuning_seed=0, device=DEVICE, clock=synchronised, denoiser=shipped
    )
    restoration = Restoration(fits, shipped)
    return tuple(
        (task, arm.label if budget else f"{arm.label} alone", budget)
        for task in planned.tasks
        for arm, budget in restoration.cells(task)
        if not getattr(arm.prior, "extra", "")
    )


def _none_kept(function: Callable, arguments: Mapping, *, aside: Mapping | None = None, run: Execute = direct) -> Found:
    raise AssertionError("a plan needs no results")
