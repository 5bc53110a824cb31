"""Which DIP architecture should it be, how wide, and does it matter beyond its number of parameters?"""


def asks(arm, axes):
    """Every architecture and width but the first, and those of the size of the first (``name:matched``)."""
    started = arm.prior.role == "treatment" and arm.entry is None
    return started and arm.recipe.is_published and arm.architecture != axes.architectures[0]


def points_of_cell(experiments):
    return experiments.cells(asks)


def bench_architecture(cell, restored):
    """Restore the test images of a task with an arm at a budget, in the setting tuned for it."""
    restored(cell)
