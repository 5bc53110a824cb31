"""Is any stage slower than it was, whatever the machine?

Each time is a ratio to a fixed yardstick workload that takes turns with it, so that it can be held against a baseline
of another day or machine. The work is small and does not depend on the profile: 2 DIP iterations of 4 images, say,
since a pair should last tenths of a second for the machine to be the same in both halves. Metrics are left out: their
milliseconds go into memory, whose price depends on what the process did before (up to threefold).
"""

import pytest

from dipddpm.experiments import stages
from dipddpm.measure.instruments import paired_timing
from dipddpm.measure.instruments.paired_timing import measured
from dipddpm.measure.record import Measure, Record

STAGES = {
    "dip fit": (stages.dip_fit, {"batch": 4, "iterations": 2}),
    "evaluation": (stages.evaluation, {"batch": 16}),
    "sampling": (stages.sampling, {"batch": 4, "steps": 5}),
    "training step": (stages.training_step, {"batch": 4}),
}


def ratios_to_the_yardstick(stage, sizes, denoiser, device):
    """A stage in turns with the yardstick workload: its times as ratios, and the yardstick's seconds."""
    measure = measured(stage(denoiser, device, **sizes).work, device)
    return {"values": list(measure.values), "yardstick": list(measure.yardstick)}


@pytest.mark.parametrize("stage", STAGES, ids=lambda name: name.replace(" ", "_"))
def bench_speed(stage, experiments, run_once, record, request):
    """A stage in turns with the yardstick workload; always measured anew where a baseline is to be held."""
    if experiments.profile.name == "quick":
        pytest.skip("what a stage takes does not depend on the profile: smoke and full time them")
    work, sizes = STAGES[stage]
    call = {"stage": work, "sizes": sizes, "denoiser": experiments.denoiser, "device": experiments.device}

    def again():
        return Measure(paired_timing.UNIT, False, "timing", **ratios_to_the_yardstick(**call))

    if request.config.getoption("baseline"):
        found = again()
    else:
        value = experiments.memo(ratios_to_the_yardstick, call, run=run_once).value
        found = Measure(paired_timing.UNIT, False, "timing", **value)
    typical = sorted(found.values)[len(found.values) // 2] * sorted(found.yardstick)[len(found.yardstick) // 2]
    record(
        Record(
            suite="speed", group="against the yardstick workload", arm=stage, role="stage", budget=0, axes={},
            measures={"time": found}, seconds={stage.replace(" ", "_"): typical}, repeat=experiments.seed,
        ),
        again=again,
    )  # fmt: skip
