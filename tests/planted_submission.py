"""A run as this version would make it, with made-up numbers: every planned cell, and a record of every other suite."""

import argparse
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from dipddpm.measure.measured_paces import Pace
from dipddpm.measure.record import Measure, Record
from dipddpm.rng import image_keys
from dipddpm.session.opening import describe_run, open_experiments
from dipddpm.session.suite_files import code_of_suites, recording_suites

AXES = ["task=inpaint,denoise_25", "dip.architecture=skip:32", "dip.fitting=tv", "population=1"]
OPTIONS = argparse.Namespace(
    seed=0, device="cpu", profile="smoke", axis=AXES, denoiser="unet", precision="", compile=False, threads=None,
    dataset="photo-patches", data_root=None, extractor="embedded64", cache=None,
)  # fmt: skip
SECONDS = 0.01  # of a step of anything


STORE = tempfile.TemporaryDirectory()  # of what opening a session counts and compares; it ends with the process


@cache
def _opened():
    OPTIONS.cache = Path(STORE.name)
    return open_experiments(OPTIONS)


def run(seed=0):
    """A run that is submitted without a complaint."""
    (experiments,) = opened = _opened()
    made, rng = describe_run(OPTIONS, opened), np.random.default_rng(seed)
    made.origins = code_of_suites()
    count, dataset = experiments.profile.restoration.images, experiments.dataset
    items = list(image_keys(dataset.sample("test", count)))
    of = {"items": items, "clusters": dataset.sample_photographs("test", count), "seeds": {"seed": 0}}
    images = rng.normal(24, 3, count)
    for task in experiments.profile.restoration.tasks:
        arms = {}
        for arm, budget in experiments.restoration.cells(task):
            arms.setdefault((arm, bool(budget)), []).append(budget)
        for (arm, _), budgets in arms.items():
            level = rng.normal()
            for budget in budgets:
                made.records.append(cell(task, arm, budget, level, images, rng, budget == budgets[-1], of))
    by_record = {(stage, key) for record in made.records for stage, key in record.pace.items()}
    made.paces = [Pace(*at, "step", 8, [SECONDS * f for f in np.linspace(0.9, 1.1, 9)]) for at in sorted(by_record)]
    recorded = {record.origin for record in made.records}
    for module in sorted({*recording_suites()} - recorded):
        made.records.append(
            Record(module, "other", "stage", "stage", 0, {}, {}, {"training_step": 1.0}, origin=module, repeat=0)
        )
    return made


def cell(task, arm, budget, level, images, rng, best, of):
    """One cell, the better the larger its budget; every judge chose the one that is ``best``."""
    psnr = images + level + budget / 100 + rng.normal(0, 0.5, len(images))
    passes = 0 if not arm.recipe else arm.iterations
    leaks = arm.leak != "none"
    units = {"dip": passes, "prior": int(not arm.recipe and not arm.injection.starts_at_T), "diffusion": budget}
    pace = {stage: f"{stage} of planted work" for stage, count in units.items() if count}
    return Record(
        suite="restoration", group=task, arm=arm.label if budget else f"{arm.label} alone",
        role="part" if not budget and arm.role == "treatment" else arm.role, family=arm.family, budget=budget,
        axes={
            "prior": arm.prior.name, "architecture": arm.architecture, "iterations": passes, "passes": passes,
            "stopping": arm.rule, "setting": "", "injection": arm.injection.name,
        },
        measures={
            "psnr": Measure("dB", True, "quality", psnr.tolist()),
            "ssim": Measure("", True, "quality", (psnr / 50).tolist()),
            "st_lpips": Measure("", False, "quality", (0.5 - psnr / 100).tolist()),
            "nfe": Measure("", False, "structure", [budget]),
        },
        seconds={stage: SECONDS * count for stage, count in units.items() if count}, units=units, pace=pace,
        judges=["psnr", "st_lpips"], chosen=["psnr", "st_lpips"] if best else [],
        validation={} if leaks else {"psnr": level + budget / 100, "st_lpips": 0.5 - (level + budget / 100) / 100},
        leak=arm.leak, origin="bench_controls", **of,
    )  # fmt: skip
