"""In which way should a DIP be fitted, and at which learning rate: what is better, and what is sooner as good?"""

from dipddpm.session.records import fitting_record
from dipddpm.tasks import task as task_named


def asks(arm, axes):
    """Every other way of fitting, and tuned learning rates; they compete in the table of all restoration suites."""
    return arm.prior.role == "treatment" and arm.entry is None and not arm.recipe.is_published


def points_of_cell(experiments):
    return experiments.cells(asks)


def points_of_recipe(experiments):
    """Task and recipe: every way, and every architecture and width as published."""
    axes = experiments.profile.restoration
    return {
        f"{task}-{recipe.label.replace(' ', '-')}": (task, recipe)
        for task in axes.tasks
        if task_named(task).leak == "none"
        for recipe in experiments.fitting.recipes(task)
    }


def bench_fitting(cell, restored):
    """Restore the test images of a task with an arm at a budget, in the setting tuned for it."""
    restored(cell)


def bench_time_to_quality(recipe, experiments, run_once, record):
    """Seconds until a DIP alone has, image by image, the quality of the plain fit of the first architecture at its best
    duration; and what the recipe reaches at its own best duration, alone and with diffusion after it."""
    task, made = recipe
    record(fitting_record(experiments, task, made, experiments.fitting.quality(task, made, run_once)))
