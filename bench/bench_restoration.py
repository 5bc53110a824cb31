"""How many network evaluations and seconds does each arm need to reach a PSNR or SSIM, and what does it reach?

One cell is one arm at one budget, an independent run: quality and cost of the same execution. This suite holds the
axes DIP duration, architecture (published size and matched), stopping rule, output and way in, and every control.
"""


def bench_restoration(arm_at, experiment, run_once, record_cell):
    """Restore the test images of a task with an arm at a budget, in the setting tuned for it."""
    task, arm, budget = arm_at
    record_cell("restoration", task, arm, experiment.cell(task, arm, budget, run=run_once))
