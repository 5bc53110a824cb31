"""Is any stage slower than it was, whatever the machine?

Each time is a ratio to a fixed yardstick workload that takes turns with it, so that it can be held against a baseline
of another day or machine. The work is small and does not depend on the profile: 2 DIP iterations of 4 images, say,
since a pair should last tenths of a second for the machine to be the same in both halves. Metrics are left out: their
milliseconds go into memory, whose price depends on what the process did before (up to threefold).
"""

import pytest

from dipddpm.dip.skip import SkipNet
from dipddpm.experiments import stages
from dipddpm.measure.instruments import paired_timing
from dipddpm.measure.instruments.paired_timing import measured
from dipddpm.measure.record import Measure, Record

STAGES = {
    "dip fit": lambda e: stages.dip_fit(e.denoiser, e.device, batch=4, iterations=2),
    "evaluation": lambda e: stages.evaluation(e.denoiser, e.device, batch=16),
    "sampling": lambda e: stages.sampling(e.denoiser, e.device, batch=4, steps=5),
    "training step": lambda e: stages.training_step(e.denoiser, e.device, batch=4),
}


@pytest.mark.parametrize("stage", STAGES, ids=lambda name: name.replace(" ", "_"))
def bench_speed(stage, experiment, run_once, record, request):
    """A stage in turns with the yardstick workload; always measured anew where a baseline is to be held."""
    if experiment.profile.name == "quick":
        pytest.skip("what a stage takes does not depend on the profile: smoke and full time them")

    def again():
        return measured(STAGES[stage](experiment).work, experiment.device)

    def compute():
        measure = again()
        return {"values": measure.values, "yardstick": measure.yardstick}, {}

    if request.config.getoption("baseline"):
        info = compute()[0]
    else:
        key = {"stage": stage, "denoiser": experiment.denoiser.fingerprint}
        sources = [*stages.sources(), SkipNet, type(experiment.denoiser)]
        info = experiment.memo("speed", key, [*sources, request.module], compute, run_once).info
    found = Measure(paired_timing.UNIT, False, "timing", info["values"], yardstick=info["yardstick"])
    typical = sorted(info["values"])[len(info["values"]) // 2] * sorted(info["yardstick"])[len(info["yardstick"]) // 2]
    record(
        Record(
            suite="speed", group="against the yardstick workload", arm=stage, role="stage", budget=0, axes={},
            measures={"time": found}, seconds={stage.replace(" ", "_"): typical}, repeat=experiment.seed,
        ),
        again=again,
    )  # fmt: skip
