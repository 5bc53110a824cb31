"""Tuning: the best setting on the validation images, and one that diverged is never it."""

import math

import pytest
import torch

from dipddpm.experiments import tuning
from dipddpm.experiments.tuning import tune
from dipddpm.priors import Evidence
from dipddpm.restore import Setting


class Observed:
    def repeat(self, times):
        return self


class Given:
    """A prior that is the image it is made from."""

    def mu(self, evidence):
        return evidence.dip


@pytest.fixture
def restored(monkeypatch):
    """Restorations that are off by what a setting's ``strength`` says; strength 9 diverges in one image."""

    def restore(denoiser, observation, mu, setting, rng):
        x_hat = torch.full((len(mu), 3, 4, 4), setting.strength)
        if setting.strength == 9:
            x_hat[-1] = torch.nan
        return x_hat, setting.nfe

    monkeypatch.setattr(tuning, "restore", restore)


def tuned(*strengths):
    x_0 = torch.zeros(2, 3, 4, 4)
    settings = [Setting(1, strength=strength) for strength in strengths]
    found = tune(None, [Given()], [Evidence(Observed(), x_0)], x_0, settings, [0, 1])
    (best,), (validation,) = found["best"], found["validation"]
    return settings[best], validation


def test_one_setting_that_diverged_does_not_lose_the_arm(restored):
    for order in ((9.0, 0.5, 0.1), (0.5, 0.1, 9.0)):
        setting, validation = tuned(*order)
        assert setting.strength == 0.1 and validation == pytest.approx(20 - 20 * math.log10(0.5), abs=1e-3)


def test_an_arm_that_always_diverged_is_worse_than_any_other(restored):
    _, validation = tuned(9.0, 9.0)
    assert validation == -math.inf
