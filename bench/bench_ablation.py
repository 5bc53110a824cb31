"""Is it the fitted prior that does it? An untrained DIP, another image's DIP, and a DIP that enters the naive way."""


def asks(arm, profile):
    """What looks like a DIP start and lacks one part of it."""
    return arm.uses_dip and (arm.prior != "dip" or bool(arm.injection))


def bench_ablation(arm_at, restored):
    """Restore the test images of a task with an arm at a budget, in the setting tuned for it."""
    restored(*arm_at)
