"""Is it the fitted prior that does it? An untrained DIP, another image's DIP, and a DIP that enters the naive way."""


def asks(arm, axes):
    """What looks like a DIP start and lacks one part of it."""
    return arm.prior.uses_dip and (arm.prior.role != "treatment" or arm.entry is not None)


def points_of_cell(experiments):
    return experiments.cells(asks)


def bench_ablation(cell, restored):
    """Restore the test images of a task with an arm at a budget, in the setting tuned for it."""
    restored(cell)
