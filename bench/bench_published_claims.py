"""How do earlier claims fare: how much of what a published protocol reports is left without its flaw?

The gain of the DIP start as such a protocol measures it, the gain without the flaw, and the difference: the illusion.
"""

from dipddpm.measure.record import Measure, Record
from dipddpm.measure.statistics import mean_interval
from dipddpm.tasks import task as task_named


def points_of_protocol(experiments):
    """Every protocol, on the first task."""
    task = experiments.profile.restoration.tasks[0]
    if task_named(task).leak != "none":
        return {}
    return {f"{task}-{name.replace(' ', '-')}": (task, name) for name in experiments.earlier_claims.claims(task)}


def bench_published_claims(protocol, experiments, record):
    """Both gains and their difference, with intervals over photographs where every image has its own."""
    task, name = protocol
    claim = experiments.earlier_claims.claim(task, name)
    photographs = experiments.fits.images("test").photographs

    def measure(values):
        # Of kind "timing", which no gate looks at: another setting may be the best one on another machine.
        if len(values) == 1:
            return Measure(claim.unit, True, "timing", values)
        mean = mean_interval(values, photographs)
        return Measure(claim.unit, True, "timing", [mean.mean], interval=[mean.low, mean.high])

    illusion = [a - b for a, b in zip(claim.published, claim.fair, strict=True)]
    record(
        Record(
            suite="earlier claims", group=task, arm=name, role="stage", budget=0, seconds={},
            axes={"flaw": claim.flaw, "without it": claim.instead},
            measures={
                "as published": measure(claim.published),
                "without the flaw": measure(claim.fair),
                "illusion": measure(illusion),
            },
            repeat=experiments.seed, items=experiments.fits.images("test").keys,
        )
    )  # fmt: skip
