"""How long should a DIP be fitted before it enters, may a rule stop it, and is its averaged output better?"""


def asks(arm, profile):
    """The first architecture over every duration, stopping rule and output."""
    return arm.prior == "dip" and arm.architecture == profile.architectures[0] and not arm.injection


def bench_duration(arm_at, restored):
    """Restore the test images of a task with an arm at a budget, in the setting tuned for it."""
    restored(*arm_at)
