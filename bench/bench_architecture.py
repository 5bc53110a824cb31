"""Which DIP architecture should it be, and does it matter beyond its number of parameters?"""


def asks(arm, axes):
    """Every further architecture, at its published size and at the size of the first (``name:matched``)."""
    return arm.prior.role == "treatment" and arm.architecture != axes.architectures[0] and arm.entry is None


def points_of_cell(experiments):
    return experiments.cells(asks)


def bench_architecture(cell, restored):
    """Restore the test images of a task with an arm at a budget, in the setting tuned for it."""
    restored(cell)
