"""At which step should a DIP enter, and with how many evaluations? The t0 by K grid, at one solver."""

from dipddpm.experiments.arms import Arm
from dipddpm.restore import Setting


def bench_t0_by_budget(t0_at, experiment, run_once, record_cell):
    """The longest DIP of the first architecture, entered at t0 and finished in K steps of DDIM (eta 0)."""
    t0, budget = t0_at
    profile = experiment.profile
    arm = Arm("dip", profile.architectures[0], profile.iterations[-1])
    cell = experiment.cell_with(profile.tasks[0], arm, Setting(budget, "start", t0), run_once)
    record_cell("t0 by budget", profile.tasks[0], arm, cell, name=f"{arm.label} t0 {t0}")
