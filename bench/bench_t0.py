"""At which step should a DIP enter, and with how many evaluations? The t0 by K grid, at one solver."""

from dipddpm.injection.start import Start
from dipddpm.restore import Setting


def points_of_entered(experiments):
    axes, T = experiments.profile.restoration, experiments.denoiser.schedule.T
    return {
        f"{axes.tasks[0]}-t0-{t0}-at-{nfe}": (t0, nfe)
        for t0 in axes.grid_t0s
        for nfe in axes.grid_budgets
        if t0 < T and nfe <= t0 + 1
    }


def bench_t0_by_budget(entered, experiments, run_once, record_cell):
    """The longest DIP of the first architecture, entered at t0 and finished in K steps of DDIM (eta 0)."""
    (t0, nfe), axes = entered, experiments.profile.restoration
    arm, task = axes.longest, axes.tasks[0]
    cell = experiments.restoration.cell_with(task, arm, Setting(nfe, Start(), t0), run_once)
    record_cell(task, arm, cell, suite="t0 by budget", name=f"{arm.label} t0 {t0}")
