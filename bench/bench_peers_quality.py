"""How many times fewer seconds than the plain loop, one image at a time, does the best fit take to the same quality?

``pytest bench -k peers_quality``. Batches save some of the time, and another network or way of fitting the rest.
"""

import torch.nn.functional as F
from torch.optim import Adam

from dipddpm.dip.skip import SkipNet
from dipddpm.experiments.recipes import Recipe
from dipddpm.fitting import fit_dip, stored_fit
from dipddpm.measure.instruments.paired_timing import median_ratio, paired
from dipddpm.measure.record import Measure, Record
from dipddpm.metrics import metric
from dipddpm.rng import ImageRng

PAIRS = 7
IMAGES = 64  # at once
SOONEST = 2  # recipes; the next ones take as long as the loop does, and so would their timing
LOOP = 150  # iterations of the plain loop, of which so many are timed:
TIMED = 10


def points_of_task(experiments):
    return {task: task for task in experiments.profile.restoration.tasks[:1]}


def level_of_the_loop(experiments, task):
    """Validation quality of the published skip net after the plain loop."""
    fits, judge = experiments.fits, metric(experiments.profile.restoration.judges[0])
    observation, seeds = fits.observation(task, "validation"), fits.rng("validation", task, "dip").seeds
    fit = stored_fit(
        experiments.memo, SkipNet, observation, seeds, iterations=[LOOP], size=fits.dataset.size, clock=fits.clock
    ).fit
    return judge(observation.consistent(fit.mu(LOOP)), fits.images("validation").x_0).mean().item()


def soonest(experiments, task, level):
    """{recipe: first duration at which its mean over the validation images is as good}, those that get there."""
    sign = 1 if metric(experiments.profile.restoration.judges[0]).higher_is_better else -1
    found = {}
    for recipe in experiments.fitting.recipes(task):
        curve = experiments.fitting.curve(task, recipe, "validation")
        there = [i for i, q in zip(curve.iterations, curve.quality.mean(1), strict=True) if sign * q >= sign * level]
        found |= {recipe: there[0]} if there else {}
    return found


def plain_loop(observation, count, device):
    """The loop of the original code: one image, one network, one optimiser at a time; for ``count`` images."""

    def work():
        for i in range(count):
            own = observation.part(slice(i, i + 1))
            net = SkipNet(own.pinv.shape[-1]).to(device)
            rng = ImageRng([i], device)
            z = net.draw_z(rng)
            optimizer, average = Adam(net.parameters(), lr=net.lr), None
            for _ in range(TIMED):
                optimizer.zero_grad()
                out = net(z + net.input_noise * rng.randn(*z.shape[1:]))
                average = out.detach() if average is None else average * 0.99 + out.detach() * 0.01
                F.mse_loss(own.operator.A(out), own.y).backward()
                optimizer.step()

    return work


def time_to_quality(fits, task, recipe: Recipe, iterations, device):
    """Ratios, pair by pair: seconds per image of the plain loop over those of one batch of the recipe."""
    method, width, size = fits.method(recipe, task), fits.width(recipe.architecture), fits.dataset.size
    observation = fits.observation(task, "validation")
    many = observation.repeat(-(-IMAGES // len(observation.y))).part(slice(IMAGES))

    def batch():
        rng = ImageRng(range(IMAGES), device)
        return fit_dip(
            recipe.network, many, rng, iterations=[iterations], size=size, width=width, method=method
        )  # fmt: skip

    ratios, seconds = paired(plain_loop(observation, 2, device), batch, pairs=PAIRS)
    return [ratio * (LOOP / TIMED / 2) * IMAGES for ratio in ratios], [s / IMAGES for s in seconds]


def bench_peers_quality(task, asked_for, experiments, record):
    """The recipes that are expected to be soonest, by the seconds of their fits to the validation images."""
    fits, level = experiments.fits, level_of_the_loop(experiments, task)
    found = soonest(experiments, task, level)

    def seconds(recipe):
        curve = experiments.fitting.curve(task, recipe, "validation")
        return curve.seconds[curve.iterations.index(found[recipe])]

    for recipe in sorted(found, key=seconds)[:SOONEST]:
        ratios, ours = time_to_quality(fits, task, recipe, found[recipe], experiments.device)
        middle = median_ratio(ratios, [1.0])
        record(
            Record(
                suite="peers", group=f"time to {level:.2f} dB, {task}", arm="plain loop, one image at a time",
                role="stage", budget=0, seconds={},
                axes={"at once": IMAGES, "recipe": recipe.label, "iterations": found[recipe]},
                measures={
                    "their time over ours": Measure("x", True, "timing", ratios, interval=middle[1:]),
                    "our seconds": Measure("s", False, "timing", ours),
                },
            )
        )  # fmt: skip
