"""Does a network learn sooner with the prior, and does a prior stand in for training?

Every arm of a seed is trained on the same images with the same draws from the same initial weights. At checkpoints it
is scored: how well it restores, how natural the restorations look, and how well it predicts x_0 at matched
signal-to-noise ratio, after how many updates and seconds (the fitting of the priors included). Losses are not compared.

Two rows for each prior need no training of their own: the prior alone, without a network, and the plain network whose
sampling starts from the prior. An arm that ends below them has learned nothing from its prior.
"""

from dipddpm.session.records import training_record, training_start_record


def points_of_checkpoint(experiments):
    """Row by row: the checkpoints of an arm follow each other."""
    axes, runs = experiments.profile.training, experiments.training.runs
    return {
        f"{task}-{arm.name}-after-{updates}": (task, arm, updates)
        for task in axes.tasks
        for arm in runs.rows(task)
        for updates in runs.checkpoints
    }


def points_of_start(experiments):
    axes = experiments.profile.training
    return {
        f"{task}-{start}-after-{updates}": (task, start, updates)
        for task in axes.tasks
        for updates in axes.updates
        for start in ("noise", "dip", "control")
    }


def bench_training(checkpoint, experiments, run_once, record):
    """Train an arm from its last checkpoint to this one, and score it."""
    training = experiments.training
    if checkpoint[1].use == "trained":
        training.runs.trained(*checkpoint, run_once)
    found, scores = training.quality(*checkpoint), training.population_scores(*checkpoint)
    record(training_record(experiments, *checkpoint, found, scores, training.population_floor()))


def bench_start_by_training(start, experiments, run_once, record):
    """Restore with the plain network as it is after some updates: from noise, from a DIP, from the best free start."""
    arm, cell = experiments.training.started(*start, run_once)
    record(training_start_record(experiments, *start, arm, cell))
