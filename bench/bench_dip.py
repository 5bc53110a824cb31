"""What does fitting a Deep Image Prior cost, in seconds, throughput and memory, by architecture and task?"""

from dipddpm.dip import architecture as architecture_of
from dipddpm.dip import flops
from dipddpm.measure.record import Measure, Record


def bench_dip_fit(task, architecture, experiment, run_once, record):
    """One batch of images, one trajectory to the longest duration, snapshots on the way."""
    entry = experiment.fit_entry(task, architecture, run=run_once)
    n, longest = experiment.profile.images, experiment.profile.iterations[-1]
    seconds = entry.info["seconds"][-1] / n
    network, size, width = architecture_of(architecture), experiment.denoiser.size, experiment.width(architecture)
    counted = experiment.memo(
        "flops",
        {"size": size, "width": width, "of": architecture},
        [network],
        lambda: ({"flops": flops(network, size, width)}, {}),
    )
    forward = counted.info["flops"]  # forward and backward take about three forward passes
    record(
        Record(
            suite="DIP fit",
            group=task,
            arm=architecture,
            role="stage",
            budget=longest,
            axes={"iterations": longest, "images": n},
            measures={
                "seconds": Measure("s/image", False, "timing", [seconds]),
                "images / s": Measure("", True, "timing", [1 / seconds]),
                "iterations / s": Measure("", True, "timing", [longest / seconds]),
                "GFLOP / s": Measure("", True, "timing", [3 * forward * longest / seconds / 1e9]),
                "forward MFLOP": Measure("", False, "structure", [forward / 1e6]),
                "parameters": Measure("", False, "structure", [entry.info["parameters"]]),
            },
            seconds={"dip": seconds},
            units={"dip": longest},
            memory={"dip": entry.memory},
            repeat=experiment.seed,
        )
    )
