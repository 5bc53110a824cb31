"""What does fitting a Deep Image Prior cost, in seconds, throughput and memory, by architecture and task?"""

from dipddpm.dip import architecture_class
from dipddpm.experiments.recipes import dip_flops
from dipddpm.session.records import dip_fit_record


def points_of_fit(experiments):
    axes = experiments.profile.restoration
    return {f"{task}-{name}": (task, name) for task in axes.tasks for name in axes.architectures_for(task)}


def bench_dip_fit(fit, experiments, run_once, record):
    """One batch of images, one trajectory to the longest duration, snapshots on the way."""
    (task, name), fits = fit, experiments.fits
    stored = fits.stored_fit(task, name, run=run_once)
    network = {"architecture": architecture_class(name), "size": fits.dataset.size, "width": fits.width(name)}
    flops = experiments.memo(dip_flops, network).value["flops"]
    seconds = stored.fit.seconds[-1] / fits.axes.images
    record(dip_fit_record(experiments, task, name, seconds, stored.memory, stored.fit.parameters, flops))
