"""Networks of other generative models: on a Gaussian, whose denoiser, velocity and noise have closed forms."""

import sys
import textwrap

import pytest
import torch

from dipddpm.denoisers import Denoiser, open_denoiser
from dipddpm.errors import InputError
from dipddpm.injection.none import NoInjection
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.tasks import Observation
from dipddpm.tasks.denoise import Identity

MEAN, SPREAD = 0.2, 0.3
MODELS = f"""
    import torch
    from torch import nn

    MEAN, VARIANCE = {MEAN}, {SPREAD}**2

    class Gaussian(nn.Module):
        size = 8
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.tensor(MEAN))

    class Edm(Gaussian):
        def forward(self, x, sigma):
            s2 = sigma[:, None, None, None] ** 2
            return (VARIANCE * x + s2 * self.mean) / (VARIANCE + s2)

    class Flow(Gaussian):
        def forward(self, x, s):
            s = s[:, None, None, None]
            total = (1 - s) ** 2 * VARIANCE + s**2
            off = x - (1 - s) * self.mean
            return s * off / total - (self.mean + (1 - s) * VARIANCE * off / total)

    class LearnedVariance(Edm):
        def forward(self, x, sigma):
            return torch.cat([super().forward(x, sigma), x], 1)

    class Latents(Gaussian):
        def __init__(self):
            super().__init__()
            self.net = nn.Conv2d(4, 4, 1)
        def forward(self, x, sigma):
            return self.net(x)

    class Conditional(Edm):
        def forward(self, x, sigma, label):
            return super().forward(x, sigma)

    class Sizeless(Edm):
        size = None

    class Broken(Edm):
        def __init__(self):
            super().__init__()
            self.mean.fill_(float("nan"))

    class Narrow(Edm):
        sigma_max = 2.0
"""


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """A module of models that another package has, importable for this test alone."""
    (tmp_path / "their_models.py").write_text(textwrap.dedent(MODELS), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("their_models", None)


class Exact(Denoiser):
    """E[eps | x_t] for x_0 ~ N(MEAN, SPREAD^2), as a network of our own kind would have it."""

    name, size = "exact", 8

    def __init__(self, schedule):
        self.schedule = schedule

    def eps(self, x_t, t):
        abar = self.schedule.abar(t)
        return (1 - abar) ** 0.5 * (x_t - abar**0.5 * MEAN) / (abar * SPREAD**2 + 1 - abar)


@pytest.mark.parametrize("spec", ["edm:their_models:Edm", "flow:their_models:Flow"])
@pytest.mark.parametrize("t", [0, 40, 500, 900])
def test_the_noise_of_a_gaussian_is_that_of_the_closed_form(spec, t):
    denoiser = open_denoiser(spec)
    x_t = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = Exact(denoiser.schedule).eps(x_t, t)
    assert torch.allclose(denoiser.eps(x_t, t), expected, atol=2e-3 if t == 0 else 1e-4)


@pytest.mark.parametrize("spec", ["edm:their_models:Edm", "flow:their_models:Flow"])
def test_samples_are_those_of_a_network_that_predicts_the_noise(spec):
    denoiser = open_denoiser(spec)
    nothing = Observation(torch.zeros(100, 3, 8, 8), Identity(), consistency="none")
    setting = Setting(nfe=20, injection=NoInjection(), eta=1.0)
    theirs, ours = (
        restore(network, nothing, None, setting, ImageRng(range(100)))[0]
        for network in (denoiser, Exact(denoiser.schedule))
    )
    assert torch.allclose(theirs, ours, atol=1e-3) and float(theirs.mean()) == pytest.approx(MEAN, abs=0.02)


def test_the_schedule_ends_where_the_training_of_the_network_did():
    def largest(spec):
        schedule = open_denoiser(spec).schedule
        return schedule.snr(schedule.T - 1) ** -0.5

    assert 1.95 < largest("edm:their_models:Narrow") <= 2.0
    assert 78 < largest("edm:their_models:Edm") <= 80 and largest("flow:their_models:Flow") > 150


def test_weights_and_kind_are_what_a_network_is_known_by():
    import their_models

    first = open_denoiser("edm:their_models:Edm").fingerprint
    assert first == open_denoiser("edm:their_models:Edm").fingerprint
    their_models.MEAN = 0.25
    assert first != open_denoiser("edm:their_models:Edm").fingerprint
    assert open_denoiser("edm:their_models:Edm").opens == ("their_models",)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("edm", "the denoiser edm needs a location: write edm:MODULE:FUNCTION"),
        ("flow:their_models", "write flow:MODULE:FUNCTION"),
        ("edm:no_such_module:Net", "No module named 'no_such_module'; is its folder on PYTHONPATH"),
        ("edm:their_models:Nothing", "their_models has no Nothing"),
        ("edm:their_models:LearnedVariance", r"gives \(2, 6, 8, 8\); it learns its variance, too"),
        ("edm:their_models:Latents", r"it cannot be called as D\(x, sigma\) for images \(2, 3, 8, 8\) .*channels"),
        ("edm:their_models:Conditional", "it cannot be called as .*label"),
        ("flow:their_models:Sizeless", "must return an nn.Module with an attribute size"),
        ("edm:their_models:Broken", "1 of 1 values of its tensor mean are NaN"),
    ],
)
def test_what_cannot_be_wrapped_is_refused_by_name(spec, why):
    with pytest.raises(InputError, match=why):
        open_denoiser(spec)
