"""Priors made with a denoiser, against one whose every estimate has a closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dipddpm.denoisers import Denoiser
from dipddpm.errors import InputError
from dipddpm.injection.none import NoInjection
from dipddpm.injection.residual import Residual
from dipddpm.priors import Evidence, prior, priors
from dipddpm.priors.mmse import OneStepMmse
from dipddpm.priors.pnp import LAST, UNIT, PlugAndPlay
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule
from dipddpm.tasks import Observation, task


def error(x: Tensor, x_0: Tensor) -> float:
    return (x - x_0).square().mean().item()


class Gaussian(Denoiser):
    """The exact denoiser of x_0 ~ N(m, s^2), pixel by pixel. It keeps the steps that it was asked about."""

    name = "gaussian"

    def __init__(self, m: float = 0.2, s: float = 0.3, clip: float = 0.0):
        self.m, self.s, self.clip = m, s, clip
        self.schedule, self.size, self.fingerprint = Schedule.linear(), 32, f"{m} {s}"
        self.injection, self.calls = NoInjection(), list[int]()

    def eps(self, x_t: Tensor, t: int) -> Tensor:
        self.calls.append(t)
        abar = self.schedule.abar(t)
        return (1 - abar) ** 0.5 * (x_t - abar**0.5 * self.m) / (abar * self.s**2 + 1 - abar)

    def mmse(self, y: Tensor, sigma: float) -> Tensor:
        """E[x_0 | x_0 + sigma n = y], without a diffusion."""
        return self.m + self.s**2 / (self.s**2 + sigma**2) * (y - self.m)

    def noise_at(self, sigma: float) -> float:
        """The noise of the step that is nearest to ``sigma``."""
        return self.schedule.snr(self.schedule.matched_step(sigma)) ** -0.5

    def photographs(self) -> Tensor:
        x_0 = self.m + self.s * torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
        return x_0.clamp(-1, 1)


@pytest.mark.parametrize("at", ["denoise_15", "denoise_25", "denoise_50"])
def test_one_step_of_a_noisy_image_is_its_mmse_estimate(at):
    toy = Gaussian()
    observation = task(at).observe(toy.photographs(), ImageRng(range(4)))
    ours = OneStepMmse().mu(Evidence(observation, denoiser=toy))
    assert torch.allclose(ours, toy.mmse(observation.y, toy.noise_at(observation.sigma)).clamp(-1, 1), atol=1e-5)
    assert toy.noise_at(observation.sigma) == pytest.approx(observation.sigma, rel=0.01)
    # s^2 sigma^2 / (s^2 + sigma^2) is the error of the best estimate; 12,288 pixels are within 5 % of it.
    s, sigma = toy.s, observation.sigma
    assert error(ours, toy.photographs()) == pytest.approx(s**2 * sigma**2 / (s**2 + sigma**2), rel=0.05)


def test_one_step_elsewhere_takes_the_fill_for_a_noisy_image_and_is_held_to_y():
    toy = Gaussian()
    for at, fill in (("inpaint", "biharmonic"), ("super_resolution", "lanczos")):
        observation = task(at).observe(toy.photographs(), ImageRng(range(4)))
        filled = prior(fill).mu(Evidence(observation))
        for level in (0.1, 0.3):
            expected = observation.consistent(toy.mmse(filled, toy.noise_at(level)).clamp(-1, 1))
            assert torch.allclose(OneStepMmse(level).mu(Evidence(observation, denoiser=toy)), expected, atol=1e-5)


def test_the_denoiser_says_how_far_its_predictions_are_clipped():
    y, operator = torch.full((1, 3, 32, 32), 0.9), task("denoise_25").operator(ImageRng([0]), 32)
    observation = Observation(y, operator, 0.1, "proximal")
    made = [
        OneStepMmse().mu(Evidence(observation, denoiser=Gaussian(m=0.9, s=0.3, clip=clip))).max() for clip in (0.5, 0.0)
    ]
    assert made[0] == 0.5 and made[1] == pytest.approx(0.9, abs=1e-4)


def test_plug_and_play_follows_the_closed_form_of_its_steps():
    """Half-quadratic splitting in scalars, written out: the levels, the data step and the denoiser."""
    toy, made = Gaussian(), PlugAndPlay(49.0, 0.5)
    observation = task("denoise_25").observe(toy.photographs(), ImageRng(range(4)))
    y, sigma = observation.y.double(), observation.sigma
    first, last = 49 * UNIT, sigma
    x = y
    for k in range(8):
        level = first * (last / first) ** (k / 7)
        alpha = 0.5 * sigma**2 / level**2
        x = toy.mmse((y + alpha * x) / (1 + alpha), toy.noise_at(level)).clamp(-1, 1)
    assert torch.allclose(made.mu(Evidence(observation, denoiser=toy)), x.float(), atol=1e-4)
    assert toy.calls == sorted(toy.calls, reverse=True) and len(toy.calls) == 8
    assert error(x, toy.photographs()) < error(observation.y, toy.photographs())


def test_plug_and_play_ends_at_the_noise_of_y_or_a_small_level():
    for at, last in (("inpaint", LAST), ("denoise_50", 2 * 50 / 255)):
        toy = Gaussian()
        PlugAndPlay(25.0).mu(Evidence(task(at).observe(toy.photographs(), ImageRng(range(4))), denoiser=toy))
        assert toy.noise_at(last) == toy.schedule.snr(toy.calls[-1]) ** -0.5
        # A first level below the noise of y would leave noise in: it is raised to that.
        assert (len(set(toy.calls)) == 1) == (at == "denoise_50")


def test_plug_and_play_moves_holes_towards_what_the_denoiser_expects():
    """Of pixels that y says nothing about, N(m, s^2) expects m; what was observed stays."""
    toy = Gaussian(m=0.2, s=0.1)
    observation = task("inpaint").observe(toy.photographs(), ImageRng(range(4)))
    holes = observation.weight() == 0
    start = prior("biharmonic").mu(Evidence(observation))
    distances = [(start[holes] - toy.m).abs().mean()]
    for first in (15.0, 49.0, 98.0):
        mu = PlugAndPlay(first).mu(Evidence(observation, denoiser=toy))
        assert torch.allclose(mu[~holes], toy.photographs()[~holes], atol=1e-6)
        distances.append((mu[holes] - toy.m).abs().mean())
    assert distances == sorted(distances, reverse=True) and distances[-1] < 0.05 * distances[0]
    assert error(mu, toy.photographs()) < error(start, toy.photographs())


@pytest.mark.parametrize("name", ["mmse", "pnp"])
def test_a_prior_that_needs_a_denoiser_says_so(name, evidence):
    with pytest.raises(InputError, match=f"prior '{name}' is made with a denoiser, and there is none here"):
        prior(name).mu(Evidence(evidence["inpaint"].observation))
    toy = Gaussian()
    toy.injection = Residual()
    with pytest.raises(InputError, match=f"the denoiser of prior '{name}' was trained with injection 'residual'"):
        prior(name).mu(Evidence(evidence["inpaint"].observation, denoiser=toy))


def test_evaluations_are_those_that_happen(evidence):
    assert {name: kind.evaluations for name, kind in priors().items() if kind.evaluations} == {"mmse": 1, "pnp": 8}
    for name in ("inpaint", "denoise_25"):
        for made in (OneStepMmse(), PlugAndPlay()):
            toy = Gaussian()
            made.mu(Evidence(evidence[name].observation, denoiser=toy))
            assert len(toy.calls) == made.evaluations
