"""The one place where what was computed becomes a ``Record``, which every table and figure understands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch

from dipddpm.experiments.arms import Arm
from dipddpm.experiments.fitting_quality import FittingQuality
from dipddpm.experiments.generation import Population
from dipddpm.experiments.recipes import Recipe
from dipddpm.experiments.restoration import Cell
from dipddpm.experiments.training_arms import PLAIN, TrainingArm
from dipddpm.experiments.training_quality import TrainedQuality
from dipddpm.measure.record import Measure, Record, RecordRole
from dipddpm.measure.statistics import mean_interval
from dipddpm.metrics import metrics
from dipddpm.report.agreed_names import FLOOR, NOT_JUDGED
from dipddpm.restore import Setting
from dipddpm.rng import image_keys, seed_for
from dipddpm.sampling import WITH_ETA
from dipddpm.session.experiments import Experiments
from dipddpm.session.stage_paces import fit_key
from dipddpm.tasks import task as task_named
from dipddpm.training_loss import HELD_OUT_T

FROM_IMAGE = "seed, task, purpose and image"


def restoration_record(
    experiments: Experiments,
    task: str,
    arm: Arm,
    cell: Cell,
    *,
    suite: str = "restoration",
    group: str = "",
    name: str = "",
    role: RecordRole | None = None,
    population: Mapping[str, Sequence] = MappingProxyType({}),
    **axes: object,
) -> Record:
    """A cell of the restoration experiment.

    Args:
        suite: the question; suites that fill one table share it.
        group: the arms of one group compete with each other; the task by default.
        name: of the row, the label of the arm by default; role: of the record, that of the arm by default.
        population: {title: [value, interval or None, whether higher is better]} of the restorations together.
        axes: further settings to tell rows apart by.
    """
    setting, leak, images = cell.setting, task_named(task).leak, experiments.fits.images("test")
    alone = setting.nfe == 0
    described = [cell.arm.prior.described(), cell.fitted, "" if alone else describe(setting)]
    return Record(
        suite=suite,
        group=group or task,
        arm=name or (f"{arm.label} alone" if alone else arm.label),
        role=role or ("part" if alone and arm.role == "treatment" else arm.role),
        family=arm.family,
        budget=setting.nfe,  # the evaluations asked for; those that took place are counted exactly below
        judges=cell.judges,
        chosen=cell.chosen,
        edges=cell.edges,
        diverged=diverged(cell.x_hat, cell.scores),
        axes={
            "prior": arm.prior.name,
            "architecture": arm.architecture,
            "way": arm.recipe.way if arm.recipe else "",
            "iterations": cell.iterations,
            "passes": cell.passes,
            "stopping": arm.rule,
            "output": arm.output,
            "setting": ", ".join(filter(None, described)),
            **setting.axes(),
            **axes,
        },
        measures=_scores(cell.scores)
        | _of_populations(population)
        | {"nfe": Measure("", False, "structure", [cell.nfe])},
        seconds=cell.seconds,
        units={
            "dip": cell.passes,
            "stopping": cell.iterations if "stopping" in cell.seconds else 0.0,
            "prior": float("prior" in cell.seconds),
            "diffusion": cell.nfe,
            **({"evaluations in the fit": cell.fit_evaluations} if cell.fit_evaluations else {}),
        },
        pace=experiments.paces.of_cell(task, arm, cell),
        memory=cell.memory,
        validation=cell.validation,
        training_seconds=cell.training_seconds,
        repeat=experiments.seed,
        leak=arm.leak if leak == "none" else leak,
        seeds={"seed": experiments.seed, "derived from": FROM_IMAGE},
        items=images.keys,
        clusters=images.photographs,
    )


def diverged(x_hat: torch.Tensor, scores: Mapping[str, Sequence[float]]) -> int:
    """How many of the images (N, C, H, W) are not finite, or have a score that is NaN."""
    bad = ~torch.isfinite(x_hat).flatten(1).all(dim=1).cpu()
    for values in scores.values():
        bad |= torch.tensor(values, dtype=torch.float64).isnan()
    return int(bad.sum())


def dip_fit_record(
    experiments: Experiments, task: str, architecture: str, seconds: float, memory: int, parameters: int, flops: int
) -> Record:
    """The cost of fitting one DIP per test image to the longest duration.

    Args:
        seconds: per image; memory: peak bytes added by the batch.
        parameters: per image; flops: of one forward pass for one image.
    """
    axes = experiments.profile.restoration
    longest = axes.iterations[-1]
    arithmetic = 3 * flops * longest  # forward and backward take about three forward passes
    return Record(
        suite="DIP fit",
        group=task,
        arm=architecture,
        role="stage",
        budget=longest,
        axes={"iterations": longest, "images": axes.images},
        measures={
            "seconds": Measure("s/image", False, "timing", [seconds]),
            "images / s": Measure("", True, "timing", [1 / seconds]),
            "iterations / s": Measure("", True, "timing", [longest / seconds]),
            "GFLOP / s": Measure("", True, "timing", [arithmetic / seconds / 1e9]),
            "forward MFLOP": Measure("", False, "structure", [flops / 1e6]),
            "parameters": Measure("", False, "structure", [parameters]),
        },
        seconds={"dip": seconds},
        units={"dip": longest},
        memory={"dip": memory},
        repeat=experiments.seed,
    )


def fitting_record(experiments: Experiments, task: str, recipe: Recipe, found: FittingQuality) -> Record:
    """The quality of a DIP recipe, and how soon it gets there, by the primary judge.

    The gate does not compare it (its measures are of kind ``timing``): a machine that rounds differently may choose
    another duration on the validation images. The cells of every duration are in the table of all arms, which the gate
    does compare.
    """
    axes, photographs = experiments.profile.restoration, experiments.fits.images("test").photographs
    kind = metrics()[axes.judges[0]]

    def per_image(values: np.ndarray | Sequence[float], unit: str, higher: bool) -> Measure:
        """A mean over images, with the interval over photographs."""
        mean = mean_interval(values, photographs)
        known = math.isfinite(mean.high - mean.low)  # false where nearly all values are equal
        return Measure(unit, higher, "timing", [mean.mean], interval=[mean.low, mean.high] if known else ())

    def count(value: float, unit: str = "") -> Measure:
        return Measure(unit, False, "timing", [value])

    return Record(
        suite="fitting",
        group=task,
        arm=recipe.label,
        role="stage",
        budget=axes.iterations_for(task, recipe)[-1],
        axes={},
        measures={
            "iterations": count(found.iterations),
            "passes": count(found.passes),
            "alone": per_image(found.alone, kind.unit, kind.higher_is_better),
            "with diffusion": per_image(found.best.scores[axes.judges[0]], kind.unit, kind.higher_is_better),
            "NFE": count(found.best.nfe),
            "seconds": count(found.seconds, "s/image"),
            "as good as plain": Measure("% of images", True, "timing", [100 * float(found.reached.mean())]),
            "until then": per_image(found.seconds_to_level, "s/image", False),
        },
        seconds={"dip": found.seconds},
        units={"dip": found.passes},
        pace={"dip": fit_key(recipe)},
        memory={"dip": found.memory},
        repeat=experiments.seed,
    )


def population_record(
    experiments: Experiments,
    arm: Arm,
    t0: int | None,
    found: Population,
    scores: Mapping[str, Sequence],
    floor: Mapping[str, Sequence],
) -> Record:
    """A population of the generation experiment.

    Args:
        scores: {title: [value, interval or None, whether higher is better]}.
        floor: what real images score, in the same form; in place of an interval the smallest and the largest draw.
    """
    nfe, real = found.setting.nfe, arm.prior.leak != "none" and found.setting.nfe == 0
    entered = [f"t0 {t0}"] if t0 is not None and nfe else []
    held = torch.cat([experiments.generation.images("train"), experiments.reference])
    return Record(
        suite="generation",
        group=experiments.dataset.label,
        arm="real" if real else " ".join([arm.label, *entered]),
        role="population",
        family=arm.prior.name,
        budget=nfe,
        axes={
            "part": arm.role,
            "prior": arm.prior.name,
            "architecture": arm.architecture,
            "iterations": arm.iterations,
            "t0": t0,
        },
        measures=_of_populations(scores)
        | _of_populations(floor, FLOOR)
        | {"nfe": Measure("", False, "structure", [found.nfe])},
        seconds={} if real else found.seconds,
        units={"dip": found.iterations, "diffusion": found.nfe},
        pace={} if real else experiments.paces.of_population(arm, found),
        memory=found.memory,
        repeat=experiments.seed,
        leak=arm.leak,
        seeds={"seed": experiments.seed, "derived from": "seed and index"},
        items=[str(seed_for(*image_keys(held)))],
    )


def no_population_record(experiments: Experiments, arm: Arm, nfe: int, t0: int | None, why: str) -> Record:
    """A record in place of a population that cannot be judged: it gives the report the reason."""
    return Record(
        suite="generation",
        group=experiments.dataset.label,
        arm=arm.label if t0 is None else f"{arm.label} t0 {t0}",
        role="population",
        budget=nfe,
        axes={NOT_JUDGED: why},
        measures={},
        seconds={},
        repeat=experiments.seed,
        leak=arm.leak,
    )


def training_record(
    experiments: Experiments,
    task: str,
    arm: TrainingArm,
    updates: int,
    found: TrainedQuality,
    scores: Mapping[str, Sequence],
    floor: Mapping[str, Sequence],
) -> Record:
    """An arm of the training experiment after some updates.

    Args:
        scores: of its restorations as a population; floor: of real images; both as in :func:`population_record`.
    """
    axes, runs = experiments.profile.training, experiments.training.runs
    by_step = {f"x_0 psnr at t={t}": found.x_0[t] for t in HELD_OUT_T if t in found.x_0}
    over_steps = [sum(values) / len(values) for values in zip(*by_step.values(), strict=True)]
    fits_dip = bool(arm.fitted_to) or (arm.prior is not None and arm.prior.uses_dip and arm.use == "trained")
    why = experiments.training.not_judged
    return Record(
        suite="training",
        group=f"training, {task}",
        arm=arm.name,
        role="training",
        budget=updates,
        axes={
            "part": arm.part,
            "use": arm.use,
            "injection": arm.injection.name,
            "prior": arm.prior.name if arm.prior else arm.fitted_to,
            "given": arm.prior.name if arm.prior and arm.takes_mu else "",
            "nfe": axes.nfe,
            "training images": len(runs.images("train")),
            "batch": axes.batch,
            "channels": list(axes.channels),
            "population": len(runs.images("population")),
            "setting": found.setting.axes(),
            **({NOT_JUDGED: why} if why else {}),
        },
        measures=_scores(found.scores)
        | ({"x_0 psnr": Measure("dB", True, "quality", over_steps)} if over_steps else {})
        | {name: Measure("dB", True, "quality", values) for name, values in by_step.items()}
        | _of_populations(scores)
        | _of_populations(floor, FLOOR)
        | ({"images / s": Measure("", True, "timing", [found.images_per_second])} if found.images_per_second else {})
        | {
            "prior at test": Measure("s/image", False, "timing", [found.test_seconds["dip"]]),
            "restoring": Measure("s/image", False, "timing", [found.test_seconds["diffusion"]]),
        },
        seconds=found.seconds,
        units={"prior": axes.iterations * fits_dip, "training": updates * (arm.use != "alone")},
        memory=found.memory,
        validation={"psnr": found.validation},
        repeat=experiments.seed,
        seeds={"seed": experiments.seed, "derived from": f"seed and update; {FROM_IMAGE}"},
        items=experiments.fits.images("test").keys,
    )


def training_start_record(
    experiments: Experiments, task: str, start: str, updates: int, arm: Arm, cell: Cell
) -> Record:
    """The plain network after some updates, entered from ``start``: noise, a DIP, or the best start that is free."""
    update = experiments.training.times.seconds(task)[PLAIN.name]
    part = "control" if arm.is_start else "treatment" if arm.role == "treatment" else "plain"
    return Record(
        suite="training progress",
        group=f"start by training, {task}",
        arm=f"from {start}",
        role="training",
        budget=updates,
        axes={"part": part, "start": arm.label, "nfe": cell.nfe, "setting": cell.setting.axes()},
        measures=_scores(cell.scores),
        seconds={"training": updates * update},
        units={"training": updates},
        validation=cell.validation,
        repeat=experiments.seed,
        items=experiments.fits.images("test").keys,
    )


def _scores(scores: Mapping[str, Sequence[float]]) -> dict[str, Measure]:
    """{metric: its values per image}."""
    known = metrics()
    return {n: Measure(known[n].unit, known[n].higher_is_better, known[n].kind, values) for n, values in scores.items()}


def _of_populations(scores: Mapping[str, Sequence], prefix: str = "") -> dict[str, Measure]:
    return {
        prefix + title: Measure("", higher, "quality", [value], interval=interval or ())
        for title, (value, interval, higher) in scores.items()
    }


def describe(setting: Setting) -> str:
    """A setting in a few words: ``t0 200, ddim eta 1 x5``."""
    parts = [f"{setting.sampler} eta {setting.eta:g}" if setting.sampler in WITH_ETA else setting.sampler]
    if setting.travel > 1:
        parts[0] += f" x{setting.travel}"
    if setting.samples > 1:
        parts.append(f"mean of {setting.samples}")
    if not setting.injection.starts_at_T:
        parts.insert(0, f"t0 {setting.t0}")
    if setting.strength != 1:
        parts.append(f"strength {setting.strength:g}")
    if not setting.held:
        parts.append("not held to y")
    return ", ".join(parts)
