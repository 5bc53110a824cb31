"""How does cost grow with size: seconds of every stage, and the memory of a large population?

``pytest bench -k growth``. An exponent of 1 is what there is to hope for; less means that a fixed cost is still in
sight at the smallest sizes. The sizes take turns, so that a machine that slows down slows all of them.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from dipddpm.dip.deep_decoder import DeepDecoder
from dipddpm.dip.skip import SkipNet
from dipddpm.experiments import restoration as experiments
from dipddpm.experiments import stages
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.restoration import Experiment
from dipddpm.generate import generate
from dipddpm.measure.instruments.memory import PeakMemory
from dipddpm.measure.instruments.roofline import repeated
from dipddpm.measure.record import Measure, Record
from dipddpm.measure.store import Store
from dipddpm.report import growth
from dipddpm.restore import Setting

FACTOR, ROUNDS = 2, 3
BATCH = {"cpu": 16, "cuda": 256}  # of a streamed population


def dip_fit_of_images(e, n, folder):
    return stages.dip_fit(e.denoiser, e.device, n, iterations=2).work


def dip_fit_of_iterations(e, n, folder):
    return stages.dip_fit(e.denoiser, e.device, 2, iterations=n).work


def sampling_of_images(e, n, folder):
    return stages.sampling(e.denoiser, e.device, n, steps=2).work


def sampling_of_steps(e, n, folder):
    return stages.sampling(e.denoiser, e.device, 4, steps=n).work


def generation_of_images(e, n, folder):
    """Streamed to a new folder each time, a batch after the other."""
    return lambda: population(e, n, Path(tempfile.mkdtemp(dir=folder)))


def metrics_of_images(e, n, folder):
    return stages.scoring(e.denoiser, e.device, n).work


def restoration_of_cells(e, n, folder):
    """Whole cells: observation, DIP fit, diffusion and scores, stored; one a seed, so that nothing is shared."""
    small = replace(e.profile, images=2, validation_images=2, iterations=(5,))
    arm, setting = Arm("dip", "deep_decoder", 5), Setting(2, "start", min(200, e.denoiser.schedule.T - 1))

    def work():
        store = Store(Path(tempfile.mkdtemp(dir=folder)), e.device)
        for seed in range(n):
            one = Experiment(small, e.dataset, e.denoiser, store.measured, seed=seed, device=e.device, clock=e.clock)
            one.cell_with("inpaint", arm, setting)

    return work


def population(e, count, folder):
    setting, batch = Setting(1, held=False), BATCH[e.device.type]
    return generate(e.denoiser, count, folder, setting, batch=batch, device=e.device, progress=False)


GROWS = {  # (stage, against): (what is done, smallest size on a CPU, and on a GPU)
    ("dip fit", "images"): (dip_fit_of_images, 2, 16),
    ("dip fit", "iterations"): (dip_fit_of_iterations, 2, 8),
    ("sampling", "images"): (sampling_of_images, 4, 64),
    ("sampling", "steps"): (sampling_of_steps, 2, 4),
    ("generation", "images"): (generation_of_images, BATCH["cpu"], BATCH["cuda"]),
    ("metrics", "images"): (metrics_of_images, 32, 2048),
    ("restoration", "cells"): (restoration_of_cells, 1, 1),
}


@pytest.fixture
def once(experiment, request):
    """Cost does not depend on the seed."""
    if experiment.seed != request.config.getoption("seed"):
        pytest.skip("measured with the first seed alone")


@pytest.mark.parametrize(("stage", "against"), GROWS, ids=[f"{s}-{a}".replace(" ", "-") for s, a in GROWS])
def bench_growth(stage, against, asked_for, once, experiment, run_once, record, request, tmp_path):
    """Seconds over sizes that double, and the exponent of a line through them in log-log."""
    make, on_cpu, on_cuda = GROWS[stage, against]
    first, count = (
        on_cuda if experiment.device.type == "cuda" else on_cpu,
        6 if experiment.profile.name == "full" else 4,
    )
    sizes = [first * FACTOR**k for k in range(count)]

    def compute():
        works = [make(experiment, n, tmp_path) for n in sizes]
        for work in works:
            work()  # start-up: memory, kernels, caches
        rounds = [[repeated(work, seconds=0.05, least=1, warmup=0) for work in works] for _ in range(ROUNDS)]
        return {"times": [[t for times in at for t in times] for at in zip(*rounds, strict=True)]}, {}

    key = {"stage": stage, "against": against, "sizes": sizes, "denoiser": experiment.denoiser.fingerprint}
    kinds = [type(experiment.denoiser), SkipNet, DeepDecoder]
    sources = [*stages.sources(), experiments, *kinds, request.module]
    found = experiment.memo("growth", key, sources, compute, run_once).info
    record(growth.record(stage, against, sizes, found["times"]))


def bench_growth_of_memory(asked_for, once, experiment, run_once, record, request, tmp_path):
    """Memory that generating a large population adds at its peak, over that of a single batch: 1 if it is streamed."""
    device, batch = experiment.device, BATCH[experiment.device.type]
    count = 10_000 if experiment.profile.name == "full" else 20 * batch

    def added(n):
        with PeakMemory(device) as peak:
            population(experiment, n, Path(tempfile.mkdtemp(dir=tmp_path)))
        return peak.added

    def compute():
        added(batch)  # start-up: what stays for good is no batch's
        single = [added(batch) for _ in range(3)]
        return {"single": single, "many": added(count)}, {}

    key = {"count": count, "batch": batch, "denoiser": experiment.denoiser.fingerprint}
    sources = [type(experiment.denoiser), request.module]
    found = experiment.memo("growth", key, sources, compute, run_once).info
    record(
        Record(
            suite="growth of memory", group="against images", arm="generation", role="stage", budget=0,
            axes={"images": count, "batch": batch},
            measures={"over one batch": Measure("x", False, "timing", [found["many"] / max(found["single"])])},
            seconds={}, memory={"one batch": max(found["single"]), "all": found["many"]},
        )
    )  # fmt: skip
