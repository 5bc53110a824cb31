"""Which DIP architecture should it be, and does it matter beyond its number of parameters?"""


def asks(arm, profile):
    """Every further architecture, at its published size and at the size of the first (``name:matched``)."""
    return arm.prior == "dip" and arm.architecture != profile.architectures[0] and not arm.injection


def bench_architecture(arm_at, restored):
    """Restore the test images of a task with an arm at a budget, in the setting tuned for it."""
    restored(*arm_at)
