"""How many network evaluations and seconds does each arm need to reach a PSNR or SSIM, and what does it reach?

One cell is one arm at one budget, an independent run: quality and cost of the same execution.
"""

from __future__ import annotations

from dipddpm.measure.record import Measure, Record
from dipddpm.metrics import metrics
from dipddpm.priors import priors


def bench_restoration(task, arm_at, experiment, run_once, record):
    """Restore the test images of a task with an arm at a budget."""
    arm, budget = arm_at
    cell = experiment.cell(task, arm, budget, run=run_once)
    prior, s = priors()[arm.prior], cell.setting
    alone = budget == 0
    role = "part" if alone and prior.role == "treatment" else prior.role
    setting = ", ".join(
        f"{name} {value:g}" for name, value in (("t0", s.t0), ("eta", s.eta), ("travel", s.travel)) if value is not None
    )
    record(
        Record(
            suite="restoration",
            group=task,
            arm=f"{arm.label} alone" if alone else arm.label,
            role=role,
            family=arm.architecture,
            budget=cell.nfe,
            chosen=alone or cell.best_budget,
            axes={
                "prior": arm.prior,
                "architecture": arm.architecture,
                "iterations": arm.iterations,
                "injection": None if alone else s.injection,
                "t0": s.t0,
                "eta": s.eta,
                "travel": s.travel,
                "setting": None if alone else setting,
            },
            measures={
                name: Measure(m.unit, m.higher_is_better, m.kind, cell.scores[name]) for name, m in metrics().items()
            },
            seconds=cell.seconds,
            memory=cell.memory,
            units={"images": 1, "nfe": cell.nfe},
            validation=cell.validation,
            leak=prior.leak,
            seeds={"seed": experiment.seed, "derived from": "(seed, task, purpose, image)"},
            items=experiment.images("test").keys,
        )
    )
