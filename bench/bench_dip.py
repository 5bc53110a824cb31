"""What does fitting a Deep Image Prior cost, in seconds, throughput and memory, by architecture and task?"""

from __future__ import annotations

from dipddpm.measure.record import Measure, Record


def bench_dip_fit(task, architecture, experiment, run_once, record):
    """One batch of images, one trajectory to the longest duration, snapshots on the way."""
    entry = experiment.fit_entry(task, architecture, run=run_once)
    n, longest = experiment.profile.images, experiment.profile.iterations[-1]
    per_image = entry.info["seconds"][-1] / n
    record(
        Record(
            suite="DIP fit",
            group=task,
            arm=architecture,
            role="stage",
            budget=longest,
            axes={"iterations": longest, "parameters": entry.info["parameters"]},
            measures={"seconds": Measure("s/image", False, "timing", [per_image])},
            seconds={"dip": per_image},
            units={"images": 1, "iterations": longest},
            memory={"dip": entry.memory},
        )
    )
