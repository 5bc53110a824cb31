"""Runs with planted answers, for the tests of contrasts, verdicts, tables and figures."""

import numpy as np

from dipddpm.measure.record import Measure, Record, Run

GRID = [1, 5, 20]


def record(arm, role, psnr, *, lpips=None, group="task", budget=5, dip=0.0, iterations=0, validation=None, **options):
    """A record whose validation scores are its test means, unless they are given: a PSNR, or {metric: score}."""
    psnr = np.asarray(psnr, dtype=float)
    diffusion = 0.01 * budget
    measures = {
        "psnr": Measure("dB", True, "quality", psnr.tolist()),
        "ssim": Measure("", True, "quality", (psnr / 40).tolist()),
    }
    if lpips is not None:
        measures["st_lpips"] = Measure("", False, "quality", np.asarray(lpips, dtype=float).tolist())
    if validation is None:
        validation = {name: float(np.mean(m.values)) for name, m in measures.items() if name != "ssim"}
    elif not isinstance(validation, dict):
        validation = {"psnr": validation}
    chosen = options.pop("chosen", True)
    return Record(
        suite="restoration", group=group, arm=arm, role=role, budget=budget,
        axes={"setting": "", "architecture": options.get("family"), "iterations": iterations} | options.pop("axes", {}),
        measures=measures,
        seconds={"diffusion": diffusion} | ({"dip": dip} if dip else {}),
        units={"dip": iterations, "diffusion": budget},
        validation=validation,
        chosen=(["psnr", "st_lpips"] if chosen else ()) if isinstance(chosen, bool) else chosen,
        items=[f"image {i}" for i in range(len(psnr))],
        **options,
    )  # fmt: skip


def run(records, **options):
    """A run with both judges, or with PSNR alone where no record has the other metric."""
    made = list(records)
    both = any("st_lpips" in record.measures for record in made)
    settings = dict(
        title="planted", settings={"profile": "planted"}, judges=["psnr", "st_lpips"] if both else ["psnr"],
        thresholds={"psnr": [20.0, 25.0], "ssim": [0.5]}, grid=GRID, comparator="noise", margin=0.5,
        stages=["dip", "diffusion"],
        machine={"gpu": None, "cpu": "a CPU", "cores": 2, "threads": 2, "torch": "2", "id": "x"},
    )  # fmt: skip
    return Run(**settings | options, records=made)


def experiment(gain, over_part, *, perceived=None, n=16, seed=0, noise=0.5, treatments=6, photographs=None):
    """A task where the best DIP start is ``gain`` dB above the best affordable control and ``over_part`` above the best
    DIP alone, on images that differ by several dB, with ``noise`` dB of chance an arm.

    Args:
        perceived: the same by the second judge, in hundredths of ST-LPIPS, positive where the DIP start is better; as
            by PSNR by default.
        photographs: how many the images are crops of; each its own by default.
    """
    rng = np.random.default_rng(seed)
    images = rng.normal(22, 3, n)
    gains = (gain, over_part), perceived or (gain, over_part)
    clusters = [f"photograph {i % photographs}" for i in range(n)] if photographs else ()

    def values(psnr, lpips):
        """The values of an arm, by its level in dB and in hundredths of ST-LPIPS below the control."""
        chance = rng.normal(0, noise, (2, n))
        made = {"psnr": images + psnr + chance[0], "lpips": 0.1 - 0.01 * (0.3 * (images - 22) + lpips + chance[1])}
        # Validation scores that tell the arms apart as they are.
        return made | {"validation": {"psnr": 22 + psnr, "st_lpips": 0.1 - 0.01 * lpips}, "clusters": clusters}

    records = [record("noise", "control", **values(-1.0, -1.0), budget=b, chosen=b == 20) for b in GRID]
    records.append(record("blur", "control", **values(0.0, 0.0), budget=1))
    for k in range(treatments):
        family = f"net{k}"
        level = [g if k == 0 else min(g, 0.0) - 0.1 for g, _ in gains]
        alone = [g - over if k == 0 else min(g, g - over) - 1.0 for g, over in gains]
        common = {"family": family, "dip": 1.0, "iterations": 100}
        records.append(record(f"dip {family} 100", "treatment", **values(*level), **common))
        records.append(record(f"dip {family} 100 alone", "part", **values(*alone), **common, budget=0))
    return run(records)
