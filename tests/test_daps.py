"""DAPS against posteriors with a closed form, and its cost.

For independent pixels x_0 ~ N(m, 1) the network's x_0 is E[x_0 | x_t], x_0 given x_t has the variance 1 - alpha_bar_t,
which is the spread that DAPS assumes, and so every state has the marginal of x_t given y exactly.
"""

from itertools import pairwise

import pytest
import torch

from dipddpm.denoisers import Denoiser, open_denoiser
from dipddpm.errors import InputError
from dipddpm.injection import injection
from dipddpm.restore import Setting, posterior_draw, restore, restore_samples
from dipddpm.rng import ImageRng
from dipddpm.sampling import noise_levels, sample_daps
from dipddpm.schedule import Schedule
from dipddpm.tasks import task

M, SIZE, COUNT, STEPS, NOISY = 0.3, 8, 200, 40, 2 * 25 / 255
LEFT_OUT = 1 - Schedule.linear().abar(noise_levels(Schedule.linear(), STEPS)[-1])
"""Variance of x_0 given the last state: the last step ends in a mean, so that samples lack it."""


class Gaussian(Denoiser):
    """The exact denoiser of pixels that are independent N(M, spread^2)."""

    name, size, clip, schedule, fingerprint = "gaussian", SIZE, 0.0, Schedule.linear(), "gaussian"

    def __init__(self, spread=1.0):
        self.spread, self.visited = spread, []

    def eps(self, x_t, t):
        self.visited.append(t)
        abar = self.schedule.abar(t)
        return (1 - abar) ** 0.5 * (x_t - abar**0.5 * M) / (abar * self.spread**2 + 1 - abar)


def sampled(name, setting, spread=1.0):
    """Many samples (COUNT, 3, SIZE, SIZE) of the posterior of one observation, and the observation."""
    x_0 = M + 0.5 * ImageRng([3]).randn(3, SIZE, SIZE)
    observation = task(name).observe(x_0, ImageRng([4])).repeat(COUNT)
    samples, _ = restore_samples(Gaussian(spread), observation, None, setting, ImageRng(range(COUNT)))
    return samples[0], observation.part(slice(0, 1))


def agrees(samples, mean, variance):
    """Mean and variance of the samples, over all pixels and pixel by pixel, are these to 5 standard errors."""
    z, error = (samples - mean) / variance**0.5, samples.numel() ** -0.5
    pixels = float(z.mean(0).abs().max()) < 5 * len(samples) ** -0.5
    return abs(float(z.mean())) < 5 * error and abs(float(z.var()) - 1) < 5 * 2**0.5 * error and pixels


EXACT = Setting(STEPS, sampler="daps", eta=1.0)


def test_a_mask_leaves_the_prior_where_nothing_was_observed():
    samples, observation = sampled("inpaint", EXACT)
    seen = observation.operator.mask.expand_as(observation.y)[0].bool()
    assert torch.allclose(samples[:, seen], observation.y[:, seen])
    assert agrees(samples[:, ~seen], M, 1 - LEFT_OUT)


def test_block_means_leave_the_null_space():
    samples, observation = sampled("super_resolution", EXACT)
    y = observation.y.expand(COUNT, -1, -1, -1)
    assert torch.allclose(observation.operator.A(samples), y, atol=1e-5)
    # A pixel given the mean of its block of four: that mean, and 1 - 1/4 of the variance; 3 of 4 deviations are free.
    z = (samples - observation.pinv) / (0.75 * (1 - LEFT_OUT)) ** 0.5
    assert abs(float(z.square().mean()) - 1) < 5 * (2 / (0.75 * z.numel())) ** 0.5
    assert float(z.mean(0).abs().max()) < 5 * COUNT**-0.5
    assert float((z[..., ::2] * z[..., 1::2]).mean()) == pytest.approx(-1 / 3, abs=5 * (2 / z.numel()) ** 0.5)


def test_noise_gives_the_product_of_both_gaussians():
    samples, observation = sampled("denoise_25", EXACT)
    weight = 1 / (1 + NOISY**2)
    left_out = 1 / (1 / LEFT_OUT + 1 / NOISY**2)
    assert agrees(samples, weight * observation.y + (1 - weight) * M, weight * NOISY**2 - left_out)


def test_the_scale_of_the_draws_matters():
    """Half the scale is another distribution: the tests above would notice."""
    for name, posterior in (("inpaint", 1.0), ("denoise_25", NOISY**2 / (1 + NOISY**2))):
        samples, observation = sampled(name, Setting(STEPS, sampler="daps", eta=0.5))
        hidden = samples[:, (observation.weight() < 0.5)[0]] if name == "inpaint" else samples
        assert not agrees(hidden, hidden.mean(0), posterior)
        assert hidden.var(0).mean() < 0.95 * posterior


def test_without_draws_a_well_solved_flow_has_the_marginal_of_the_data():
    """The flow maps the distribution of x_t to that of the data, of any spread. Unseen pixels keep it."""
    samples, observation = sampled("inpaint", Setting(200, sampler="daps", travel=100), spread=0.5)
    hidden = samples[:, (observation.weight() < 0.5)[0]]
    assert float(hidden.mean()) == pytest.approx(M, abs=5 * 0.5 * hidden.numel() ** -0.5)
    assert float(hidden.std()) == pytest.approx(0.5, rel=0.05)  # DDIM of 100 steps falls short of the flow


@pytest.mark.parametrize("name", ["inpaint", "super_resolution", "denoise_25"])
def test_a_draw_of_scale_0_is_the_refined_image_and_draws_nothing(name):
    x_0, rng = 0.5 * ImageRng([1, 2]).randn(3, SIZE, SIZE), ImageRng([5, 6])
    observation = task(name).observe(x_0, ImageRng([3, 4]))
    assert torch.equal(posterior_draw(observation, -x_0, 0.5, 0.0, rng), observation.refine(-x_0, 4.0))
    assert torch.equal(rng.randn(3), ImageRng([5, 6]).randn(3))


@pytest.mark.parametrize(("travel", "steps"), [(1, 12), (3, 4), (4, 3)])
def test_evaluations_of_the_flow_are_spread_below_each_step(travel, steps):
    model = Gaussian()
    observation = task("inpaint").observe(torch.zeros(2, 3, SIZE, SIZE), ImageRng([1, 2]))
    _, nfe = restore(model, observation, None, Setting(12, sampler="daps", eta=0.5, travel=travel), ImageRng([1, 2]))
    levels = noise_levels(model.schedule, steps, least=travel - 1)
    assert model.visited == [s for t in levels for s in model.schedule.steps(travel, t)] and nfe == 12


def test_it_enters_where_a_prior_does():
    model, mu = Gaussian(), torch.zeros(2, 3, SIZE, SIZE)
    observation = task("inpaint").observe(mu, ImageRng([1, 2]))
    setting = Setting(10, injection("start"), 9, sampler="daps", eta=1.0, travel=5)
    x_hat, nfe = restore(model, observation, mu, setting, ImageRng([1, 2]))
    assert model.visited == [9, 7, 5, 3, 1, 4, 3, 2, 1, 0] and nfe == 10
    assert noise_levels(model.schedule, 2, 9, least=4) == [9, 4]
    assert torch.allclose(observation.operator.A(x_hat), observation.y)


def test_more_steps_than_there_are_below_the_entry_are_refused():
    setting = Setting(35, injection("start"), 9, sampler="daps", travel=5)
    with pytest.raises(InputError, match=r"7 steps from t0=9 to 4 do not fit: choose 1\.\.6"):
        setting.check(Schedule.linear())
    Setting(30, injection("start"), 9, sampler="daps", travel=5).check(Schedule.linear())
    with pytest.raises(InputError, match="5 steps do not fit below t0=2"):
        sample_daps(Gaussian(), torch.zeros(1, 3, 4, 4), [9, 2], ImageRng([1]), travel=5)


@pytest.mark.parametrize(
    ("count", "start", "least"), [(1, 999, 0), (20, 999, 0), (100, 999, 4), (20, 25, 3), (6, 5, 0)]
)
def test_levels_are_spaced_evenly_in_their_seventh_root(count, start, least):
    schedule = Schedule.linear()
    steps = noise_levels(schedule, count, start, least)
    assert len(steps) == count and steps[0] == start and steps[-1] >= least
    assert all(above > below for above, below in pairwise(steps))
    if count == 20 and start == 999:
        roots = torch.tensor([schedule.snr(t) ** (-0.5 / 7) for t in steps])
        assert schedule.snr(steps[-1]) ** -0.5 == pytest.approx(0.02, rel=0.1)
        # A step stands for every level within half the distance to the next: 0.01 of a root at the low end.
        assert torch.allclose(roots.diff(), roots.diff().mean().expand(19), atol=0.02)


def test_no_steps_or_a_start_outside_the_schedule_are_refused():
    for count, start in ((0, 999), (3, 1000), (3, -1)):
        with pytest.raises(InputError, match="t0"):
            noise_levels(Schedule.linear(), count, start)


@pytest.mark.parametrize("name", ["inpaint", "denoise_25"])
@pytest.mark.numerics
def test_an_image_is_the_same_in_any_company(name):
    denoiser, seeds = open_denoiser("unet"), [7, 8, 9]
    x_0 = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    observation = task(name).observe(x_0, ImageRng(seeds))
    setting = Setting(12, sampler="daps", eta=1.0, travel=2, samples=2)
    together, _ = restore(denoiser, observation, None, setting, ImageRng(seeds))
    for i, seed in enumerate(seeds):
        alone, _ = restore(denoiser, observation.part(slice(i, i + 1)), None, setting, ImageRng([seed]))
        assert torch.allclose(alone[0], together[i], atol=1e-4)


def test_the_answer_is_clean():
    """Between steps there is noise of every size; in the answer of a network that sees through it there is none."""

    class Blind(Gaussian):
        def eps(self, x_t, t):
            abar = self.schedule.abar(t)
            return (x_t - abar**0.5 * M) / (1 - abar) ** 0.5

    observation = task("inpaint").observe(torch.full((2, 3, SIZE, SIZE), M), ImageRng([1, 2]))
    x_hat, _ = restore(Blind(), observation, None, Setting(6, sampler="daps", eta=1.0, travel=2), ImageRng([1, 2]))
    assert torch.allclose(x_hat, torch.full_like(x_hat, M), atol=1e-4)
