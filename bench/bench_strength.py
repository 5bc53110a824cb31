"""Does a prior help a weak denoiser and hurt a strong one? Earlier checkpoints of one training, arms tuned on each."""

from functools import cache

from dipddpm.denoisers import open_denoiser
from dipddpm.denoisers.unet import WEAKER
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.restoration import Restoration

KINDS = ("noise", "best control", "dip", "dip alone")


def points_of_checkpoint(experiments):
    """The weaker states of the shipped checkpoint, where that is the denoiser of the run."""
    shipped = getattr(experiments.denoiser, "is_shipped", False)
    return {f"{kind}-{name}": (name, kind) for name in WEAKER if shipped for kind in KINDS}


@cache
def weaker(name, device, precision, compiled):
    return open_denoiser(f"unet:{name}", device, precision, compiled)


def bench_denoiser_strength(checkpoint, experiments, run_once, record_cell):
    """One arm with one checkpoint, at the budget that is best on the validation images, the largest left out: to tune
    every checkpoint there would cost more than all the rest of this suite. The primary judge alone chooses.

    No verdict: noise is not given the evaluations that a DIP costs, so that no arm here is a treatment.
    """
    (name, kind), axes, strongest = checkpoint, experiments.profile.restoration, experiments.denoiser
    denoiser = weaker(name, experiments.device, strongest.precision, strongest.compiled)
    task, primary = axes.tasks[0], axes.judges[0]
    weak = Restoration(experiments.fits, denoiser, [primary])
    if kind == "best control":  # that of the strongest denoiser: the best start hardly depends on the denoiser
        arm = experiments.restoration.leaders(task, primary, "control")[0]
    else:
        arm = axes.longest if kind.startswith("dip") else Arm.named(kind)
    largest = axes.budgets[-2:][0]
    budget = 0 if kind == "dip alone" else weak.best_budget(arm, task, largest)
    cell = weak.cell(task, arm, budget, run_once, largest)
    record_cell(
        task, arm, cell, suite="denoiser strength", group=f"{task}, {name} denoiser",
        role="ablation" if arm.prior.uses_dip else arm.role, checkpoint=name,
    )  # fmt: skip
