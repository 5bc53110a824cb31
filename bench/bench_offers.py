"""What does the money of a DIP buy its rivals? The best starts, with as many evaluations as a DIP fit costs.

A rival that spends much less than a DIP start costs is a weak rival. Here the starts that do best on the validation
images are offered more evaluations, to be spent on more steps or on more samples that are averaged. The best DIP start
gets the same offer, so that no arm lacks what helps the others.
"""

from dipddpm.tasks import task as task_named

ROLES = ("control", "treatment")


def points_of_offer(experiments):
    """{name: (task, role, place within the role by validation images (0: the best), evaluations offered)}."""
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
