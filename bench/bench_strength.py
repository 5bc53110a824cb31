"""Does a prior help a weak denoiser and hurt a strong one? Earlier checkpoints of one training, arms tuned on each."""

import pytest

from dipddpm.denoisers import open_denoiser
from dipddpm.experiments.arms import Arm


@pytest.mark.parametrize("kind", ["noise", "blur", "dip", "dip alone"])
def bench_denoiser_strength(checkpoint, kind, experiment, run_once, record_cell):
    """One arm with one checkpoint, at the budget that is best on the validation images, the largest left out: to tune
    every checkpoint there would cost more than all the rest of this suite.

    No verdict: noise is not given the evaluations that a DIP costs, so that no arm here is a treatment.
    """
    profile = experiment.profile
    weak = experiment.with_denoiser(open_denoiser(f"unet:{checkpoint}", experiment.device))
    longest = Arm("dip", profile.architectures[0], profile.iterations[-1])
    arm, task = longest if kind.startswith("dip") else Arm(kind), profile.tasks[0]
    largest = profile.budgets[-2:][0]
    budget = 0 if kind == "dip alone" else weak.best_budget(arm, task, largest)
    cell = weak.cell(task, arm, budget, run_once, largest)
    group = f"{task}, {checkpoint} denoiser"
    role = "ablation" if arm.uses_dip else arm.role
    record_cell("denoiser strength", task, arm, cell, group=group, role=role, checkpoint=checkpoint)
