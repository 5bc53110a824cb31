"""What do a start from noise and the starts that cost nothing reach, and in how many network evaluations and seconds?

With the other restoration suites (duration, architecture, ablation) this fills one table per task. A cell is one arm at
one budget, an independent run: quality and cost are of the same execution. Steps to a threshold and quality at equal
total cost are read off that table.
"""


def asks(arm, axes):
    """Every rival of the DIP, and the start from the photograph itself, which bounds what any start can reach."""
    return not arm.prior.uses_dip


def points_of_cell(experiments):
    return experiments.cells(asks)


def bench_control(cell, restored):
    """Restore the test images of a task with an arm at a budget, in the setting tuned for it."""
    restored(cell)
