"""How long should a DIP be fitted before it enters, may a rule stop it, and is its averaged output better?"""


def asks(arm, axes):
    """The first architecture over every duration, stopping rule and output."""
    started = arm.prior.role == "treatment" and arm.entry is None
    return started and arm.recipe.is_published and arm.architecture == axes.architectures[0]


def points_of_cell(experiments):
    return experiments.cells(asks)


def bench_duration(cell, restored):
    """Restore the test images of a task with an arm at a budget, in the setting tuned for it."""
    restored(cell)
