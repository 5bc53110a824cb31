"""Tuning: the best setting on the validation images, and one that diverged is never it."""

import math

import pytest
import torch

from dipddpm.experiments import tuning
from dipddpm.experiments.tuning import best, more_of, tune
from dipddpm.injection import injection
from dipddpm.metrics import metric
from dipddpm.restore import Setting
from dipddpm.schedule import Schedule


class Observed:
    def repeat(self, times):
        return self


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
    (scores,) = tune(None, Observed(), [x_0], x_0, settings, [0, 1], [metric("psnr")])["psnr"]
    return settings[best(scores, True)], scores


def test_one_setting_that_diverged_does_not_lose_the_arm(restored):
    for order in ((9.0, 0.5, 0.1), (0.5, 0.1, 9.0)):
        setting, scores = tuned(*order)
        assert setting.strength == 0.1 and scores[order.index(0.1)] == pytest.approx(
            20 - 20 * math.log10(0.5), abs=1e-3
        )


def test_an_arm_that_always_diverged_is_worse_than_any_other(restored):
    _, scores = tuned(9.0, 9.0)
    assert all(math.isnan(score) for score in scores)
    for higher in (True, False):
        assert best([math.nan, 1.0, math.nan], higher) == 1


def test_the_best_is_the_highest_or_the_lowest():
    assert best([1.0, 3.0, 2.0], True) == 1 and best([1.0, 3.0, 0.5], False) == 2


def test_more_money_buys_more_samples_or_more_steps():
    five = Setting(5, injection("start"), 25, eta=1.0)
    offered = more_of([five, Setting(20, injection("start"), 75, travel=5)], 60, Schedule.linear())
    assert {(s.nfe, s.samples, s.travel) for s in offered} == {(60, 12, 1), (60, 3, 5), (60, 1, 5)}
    # Below t0 = 25 there is no room for 60 steps: only more samples.
    assert all(s.nfe <= 60 for s in offered)
    (once,) = more_of([Setting(40, injection("start"), 75, travel=2)], 60, Schedule.linear())
    assert once.nfe == 40  # what is offered does not pay for twice as much
