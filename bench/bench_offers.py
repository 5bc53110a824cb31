"""What does the money of a DIP buy its rivals? The best starts, with as many evaluations as a DIP fit costs.

A rival that only may not cost more is a weak one. Here those that do best on the validation images are offered more
evaluations, to be spent on more steps or on more samples, whose mean is the answer. So is the best DIP start: nobody is
kept from what helps the others.
"""

from dipddpm.tasks import task as task_named

ROLES = ("control", "treatment")


def points_of_offer(experiments):
    """Task, to which role and which place in it (0: the best on the validation images), evaluations offered."""
    axes = experiments.profile.restoration
    places = {"control": axes.offered_controls, "treatment": 1}
    return {
        f"{task}-{role}-{place + 1}-at-{total}": (task, role, place, total)
        for task in axes.tasks
        if task_named(task).leak == "none"
        for total in axes.offers
        for role in ROLES
        for place in range(places[role])
    }


def bench_offer(offer, experiments, run_once, record_cell):
    """Restore the test images of a task at the price of a DIP; judges that disagree on who is best have a cell each."""
    task, role, place, total = offer
    for cell in experiments.restoration.offered(task, role, place, total, run_once):
        record_cell(task, cell.arm, cell, name=f"{cell.arm.label}, offered {total}")
