"""Is any stage slower than it was, whatever the machine?

Each time is a ratio to a fixed reference workload that takes turns with it, so that it can be held against a baseline
of another day or machine. The work is small and does not depend on the profile: 2 DIP iterations of 4 images, say,
since a pair should last tenths of a second for the machine to be the same in both halves. Metrics are left out: their
milliseconds go into memory, whose price depends on what the process did before (up to threefold).
"""

import pytest
import torch

from dipddpm import fitting, restore, unet, updates
from dipddpm.data import to_uint8
from dipddpm.dip.skip import SkipNet
from dipddpm.measure import reference
from dipddpm.measure.record import Measure, Record
from dipddpm.measure.reference import measured
from dipddpm.restore import Setting
from dipddpm.rng import ImageRng
from dipddpm.tasks import task
from dipddpm.updates import Recipe


def images(n, experiment):
    """Random images: what they show decides no time."""
    size = experiment.denoiser.size
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def dip_fit(experiment):
    """2 iterations on 4 images, the networks built anew each time."""
    observation = task("inpaint").observe(images(4, experiment), ImageRng(range(4))).to(experiment.device)
    size, device = experiment.denoiser.size, experiment.device
    return lambda: fitting.fit_dip(SkipNet, observation, ImageRng(range(4), device), iterations=[2], size=size)


def evaluation(experiment):
    """One evaluation of the denoiser on 16 images."""
    x_t = images(16, experiment).to(experiment.device)
    return lambda: experiment.denoiser.eps(x_t, 500)


def sampling(experiment):
    """5 steps of DDIM on 4 images, held to y at every step."""
    observation = task("super_resolution").observe(images(4, experiment), ImageRng(range(4))).to(experiment.device)
    setting, device = Setting(5, "none", 999), experiment.device
    return lambda: restore.restore(experiment.denoiser, observation, None, setting, ImageRng(range(4), device))


def training_step(experiment):
    """One update of a U-Net of the default size on 4 images: draws, gradient, AdamW, the average of the weights."""
    pixels, recipe = to_uint8(images(64, experiment)), Recipe(10**6, batch=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = unet.UNet(experiment.denoiser.size)
    training = updates.Training(model, experiment.denoiser.schedule, recipe, device=experiment.device)
    return lambda: training.update(pixels)


@pytest.mark.parametrize("stage", [dip_fit, evaluation, sampling, training_step], ids=lambda s: s.__name__)
def bench_speed(stage, experiment, run_once, record, request):
    """A stage in turns with the reference workload; always measured anew where a baseline is to be held."""
    if experiment.profile.name == "quick":
        pytest.skip("what a stage takes does not depend on the profile: smoke and full time them")
    device = experiment.device

    def compute():
        measure = measured(stage(experiment), device)
        return {"values": measure.values, "reference": measure.reference}, {}

    if request.config.getoption("baseline"):
        info = compute()[0]
    else:
        key = {"stage": stage.__name__, "denoiser": experiment.denoiser.fingerprint}
        sources = [reference, fitting, SkipNet, restore, updates, unet, type(experiment.denoiser)]
        info = experiment.memo("speed", key, [*sources, request.module], compute, run_once).info
    found = Measure(reference.UNIT, False, "timing", info["values"], reference=info["reference"])
    typical = sorted(info["values"])[len(info["values"]) // 2] * sorted(info["reference"])[len(info["reference"]) // 2]
    record(
        Record(
            suite="speed", group="against the reference workload", arm=stage.__name__.replace("_", " "), role="stage",
            budget=0, axes={}, measures={"time": found}, seconds={stage.__name__: typical}, repeat=experiment.seed,
        ),
        again=lambda: measured(stage(experiment), device),
    )  # fmt: skip
