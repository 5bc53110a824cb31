"""How does cost grow with size: seconds of every stage, and the memory of a large population?

``pytest bench -k growth``. An exponent of 1 is the best possible; an exponent below 1 means that a fixed cost still
matters at the smallest sizes. The sizes take turns, so that a machine that slows down slows all of them.
"""

import tempfile
import time
from pathlib import Path

import pytest

from dipddpm.data.photo_patches import PhotoPatches
from dipddpm.experiments import stages
from dipddpm.experiments.arms import Arm, RestorationAxes
from dipddpm.experiments.fits import Fits
from dipddpm.experiments.restoration import Restoration
from dipddpm.generate import generate
from dipddpm.injection.start import Start
from dipddpm.measure.instruments.memory import PeakMemory
from dipddpm.measure.instruments.roofline import repeated
from dipddpm.measure.record import Measure, Record
from dipddpm.measure.store import Store
from dipddpm.report import growth
from dipddpm.restore import Setting

FACTOR, ROUNDS = 2, 3
BATCH = {"cpu": 16, "cuda": 256}  # of a streamed population
SMALL = RestorationAxes(
    images=2, validation_images=2, tasks=("inpaint",), architectures=("deep_decoder",), iterations=(5,), budgets=(2,),
    noise_budgets=(2,),
)  # fmt: skip


def dip_fit_of_images(denoiser, device, n, folder):
    return stages.dip_fit(denoiser, device, n, iterations=2).work


def dip_fit_of_iterations(denoiser, device, n, folder):
    return stages.dip_fit(denoiser, device, 2, iterations=n).work


def sampling_of_images(denoiser, device, n, folder):
    return stages.sampling(denoiser, device, n, steps=2).work


def sampling_of_steps(denoiser, device, n, folder):
    return stages.sampling(denoiser, device, 4, steps=n).work


def generation_of_images(denoiser, device, n, folder):
    """Streamed to a new folder each time, one batch after the other."""
    return lambda: stream(denoiser, device, n, Path(tempfile.mkdtemp(dir=folder)))


def metrics_of_images(denoiser, device, n, folder):
    return stages.scoring(denoiser, device, n).work


def restoration_of_cells(denoiser, device, n, folder):
    """Whole cells: observation, DIP fit, diffusion and scores, stored; one per seed, so that nothing is shared."""
    dataset, arm = PhotoPatches(size=denoiser.size), Arm.named("dip", "deep_decoder", 5)
    setting = Setting(2, Start(), min(200, denoiser.schedule.T - 1))

    def work():
        store = Store(Path(tempfile.mkdtemp(dir=folder)), device)
        for seed in range(n):
            fits = Fits(SMALL, dataset, store.measured, seed=seed, device=device, clock=time.perf_counter)
            Restoration(fits, denoiser).cell_with("inpaint", arm, setting)

    return work


def stream(denoiser, device, count, folder):
    return generate(
        denoiser, count, folder, Setting(1, held=False), batch=BATCH[device.type], device=device, progress=False
    )


GROWS = {  # (stage, against): (what is done, smallest size on a CPU, and on a GPU)
    ("dip fit", "images"): (dip_fit_of_images, 2, 16),
    ("dip fit", "iterations"): (dip_fit_of_iterations, 2, 8),
    ("sampling", "images"): (sampling_of_images, 4, 64),
    ("sampling", "steps"): (sampling_of_steps, 2, 4),
    ("generation", "images"): (generation_of_images, BATCH["cpu"], BATCH["cuda"]),
    ("metrics", "images"): (metrics_of_images, 32, 2048),
    ("restoration", "cells"): (restoration_of_cells, 1, 1),
}


def time_sizes(make, sizes, denoiser, device, folder):
    """Seconds of repeated executions at each size, the sizes in turns."""
    works = [make(denoiser, device, n, folder) for n in sizes]
    for work in works:
        work()  # start-up: memory, kernels, caches
    rounds = [[repeated(work, seconds=0.05, least=1, warmup=0) for work in works] for _ in range(ROUNDS)]
    return {"times": [[t for times in at for t in times] for at in zip(*rounds, strict=True)]}


def memory_of_streaming(count, batch, denoiser, device, folder):
    """Peak bytes that streaming a single batch adds, three times, and that ``count`` images add."""

    def added(n):
        with PeakMemory(device) as peak:
            stream(denoiser, device, n, Path(tempfile.mkdtemp(dir=folder)))
        return peak.added

    added(batch)  # warm-up: memory that stays allocated for good is not counted for any batch
    return {"single": [added(batch) for _ in range(3)], "many": added(count)}


@pytest.fixture
def once(experiments, request):
    """Cost does not depend on the seed."""
    if experiments.seed != request.config.getoption("seed"):
        pytest.skip("measured with the first seed alone")


@pytest.mark.parametrize(("stage", "against"), GROWS, ids=[f"{s}-{a}".replace(" ", "-") for s, a in GROWS])
def bench_growth(stage, against, asked_for, once, experiments, run_once, record, tmp_path):
    """Seconds over sizes that double, and the exponent of a line through them in log-log."""
    make, on_cpu, on_cuda = GROWS[stage, against]
    first = on_cuda if experiments.device.type == "cuda" else on_cpu
    sizes = [first * FACTOR**k for k in range(6 if experiments.profile.name == "full" else 4)]
    call = {"make": make, "sizes": sizes, "denoiser": experiments.denoiser, "device": experiments.device}
    found = experiments.memo(time_sizes, call, aside={"folder": tmp_path}, run=run_once).value
    record(growth.record(stage, against, sizes, found["times"]))


def bench_growth_of_memory(asked_for, once, experiments, run_once, record, tmp_path):
    """Memory that generating a large population adds at its peak, over that of a single batch: 1 if it is streamed."""
    device, batch = experiments.device, BATCH[experiments.device.type]
    count = 10_000 if experiments.profile.name == "full" else 20 * batch
    call = {"count": count, "batch": batch, "denoiser": experiments.denoiser, "device": device}
    found = experiments.memo(memory_of_streaming, call, aside={"folder": tmp_path}, run=run_once).value
    record(
        Record(
            suite="growth of memory", group="against images", arm="generation", role="stage", budget=0,
            axes={"images": count, "batch": batch},
            measures={"over one batch": Measure("x", False, "timing", [found["many"] / max(found["single"])])},
            seconds={}, memory={"one batch": max(found["single"]), "all": found["many"]},
        )
    )  # fmt: skip
