"""Runs with planted answers, for the tests of contrasts, verdicts, tables and figures."""

import numpy as np

from dipddpm.measure.record import Measure, Record, Run

GRID = [1, 5, 20]


def record(arm, role, psnr, *, group="task", budget=5, dip=0.0, iterations=0, validation=None, **options):
    psnr = np.asarray(psnr, dtype=float)
    diffusion = 0.01 * budget
    return Record(
        suite="restoration", group=group, arm=arm, role=role, budget=budget,
        axes={"setting": "", "architecture": options.get("family"), "iterations": iterations} | options.pop("axes", {}),
        measures={
            "psnr": Measure("dB", True, "quality", psnr.tolist()),
            "ssim": Measure("", True, "quality", (psnr / 40).tolist()),
        },
        seconds={"diffusion": diffusion} | ({"dip": dip} if dip else {}),
        units={"dip": iterations, "diffusion": budget},
        validation=float(psnr.mean()) if validation is None and role == "control" else validation,
        items=[f"image {i}" for i in range(len(psnr))],
        **{"chosen": True} | options,
    )  # fmt: skip


def run(records, **options):
    settings = dict(
        title="planted", settings={"profile": "planted"}, primary="psnr",
        thresholds={"psnr": [20.0, 25.0], "ssim": [0.5]}, grid=GRID, comparator="noise", margin=0.5,
        stages=["dip", "diffusion"],
        machine={"gpu": None, "cpu": "a CPU", "cores": 2, "threads": 2, "torch": "2", "id": "x"},
    )  # fmt: skip
    return Run(**settings | options, records=list(records))


def experiment(gain, over_part, *, n=16, seed=0, noise=0.5, treatments=6):
    """A task where the best DIP start is ``gain`` dB above the best affordable control and ``over_part`` above the
    DIP alone, on images that differ by several dB, with ``noise`` dB of chance an arm."""
    rng = np.random.default_rng(seed)
    images = rng.normal(22, 3, n)

    def values(level):
        return images + level + rng.normal(0, noise, n)

    records = [record("noise", "control", values(-1.0), budget=b, chosen=b == 20) for b in GRID]
    records.append(record("blur", "control", values(0.0), budget=1))
    for k in range(treatments):
        family, level = f"net{k}", gain if k == 0 else min(gain, 0.0)
        common = {"family": family, "dip": 1.0, "iterations": 100}
        alone = values(level - over_part if k == 0 else level)
        records.append(record(f"dip {family} 100", "treatment", values(level), **common))
        records.append(record(f"dip {family} 100 alone", "part", alone, **common, budget=0))
    return run(records)
