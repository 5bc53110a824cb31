"""Runs, times and baselines with planted answers, for the tests of the gate."""

import json

import numpy as np

from dipddpm.measure.instruments.paired_timing import UNIT
from dipddpm.measure.record import Measure, Record, Run

IMAGES = 8
STAGE = "speed / all / evaluation / 0 / 0"  # key of the entry of stage()
MACHINE = {"gpu": None, "cpu": "a CPU", "cores": 2, "threads": 2, "torch": "2", "id": "here"}


def ratios(level=5.0, noise=0.02, *, yardstick=0.01, yardstick_noise=0.01, seed=0, n=9):
    """A time in units of the yardstick workload, beside a yardstick with a spread of its own."""
    rng = np.random.default_rng(seed)
    values = level * np.exp(rng.normal(0, noise, n))
    seconds = yardstick * np.exp(rng.normal(0, yardstick_noise, n))
    return Measure(UNIT, False, "timing", values.tolist(), yardstick=seconds.tolist())


def cell(arm="noise", budget=5, psnr=24.0, *, seed=0, nfe=None, n=IMAGES, **options):
    """One restored cell: PSNR of images that differ by some dB, SSIM, and the evaluations that happened."""
    values = psnr + np.random.default_rng(seed).normal(0, 2, n)
    measures = {
        "psnr": Measure("dB", True, "quality", values.tolist()),
        "ssim": Measure("", True, "quality", (values / 40).tolist()),
        "nfe": Measure("", False, "structure", [budget if nfe is None else nfe]),
    }
    return Record(
        suite="restoration", group="inpaint", arm=arm, role="control", budget=budget, axes={"setting": "eta 0"},
        measures=measures | options.pop("measures", {}), seconds={"diffusion": 0.01}, units={"diffusion": budget},
        seeds={"seed": 0}, items=[f"image {i}" for i in range(n)],
        **{"origin": "bench_controls", "chosen": ["psnr"]} | options,
    )  # fmt: skip


def stage(arm="evaluation", time=None):
    """A stage beside the yardstick workload, and the seconds of it, which are of this machine alone."""
    measures = {"time": time or ratios(), "seconds": Measure("s", False, "timing", [0.05])}
    return Record(
        suite="speed", group="all", arm=arm, role="stage", budget=0, axes={}, measures=measures,
        seconds={"evaluation": 0.05}, origin="bench_speed",
    )  # fmt: skip


def records():
    """A small suite: two arms at two budgets, a stage, and a fit that counts its parameters."""
    cells = [cell(arm, b, psnr + b / 5, seed=b) for arm, psnr in (("noise", 22.0), ("blur", 24.0)) for b in (1, 5)]
    fit = Record(
        suite="DIP fit", group="inpaint", arm="skip", role="stage", budget=20, axes={"images": IMAGES},
        measures={"parameters": Measure("", False, "structure", [2_184_123])}, seconds={"dip": 1.0}, origin="bench_dip",
    )  # fmt: skip
    return [*cells, stage(), fit]


def run(made=None, **options):
    made = records() if made is None else list(made)
    settings = dict(
        title="planted", settings={"profile": "planted", "data": "photographs", "denoiser": "unet a1", "device": "cpu"},
        judges=["psnr"], thresholds={"psnr": [20.0, 23.0], "ssim": [0.5]}, grid=[1, 5], comparator="noise", margin=0.5,
        stages=["dip", "diffusion"], machine=MACHINE, config={"images": IMAGES, "t0s": (50, 200)},
        origins={record.origin: f"code of {record.origin}" for record in made},
    )  # fmt: skip
    return Run(**settings | options, records=made)


def on_card(name, made=None, device="cuda", **options):
    """A run on a GPU of that name."""
    machine = MACHINE | {"gpu": name, "gpu_driver": "1, CUDA 13.0", "id": f"beside {name}"}
    return run(made, settings=run().settings | {"device": device}, machine=machine, **options)


def edited(file, **changes):
    """Change fields of the cpu section of a baseline file, as a reviewer would."""
    text = json.loads(file.read_text())
    text["cpu"] |= changes
    file.write_text(json.dumps(text))
