"""Injections: each lands where its mathematics says, and the prior it is given is used."""

import pytest
import torch

from dipddpm.injection import injection, injections
from dipddpm.injection.blend import weight_at
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule

SCHEDULE, SHAPE = Schedule.linear(), (3, 16, 16)
MU = torch.full((2, *SHAPE), 0.5)


@pytest.mark.parametrize("name", sorted(injections()))
def test_contract(name):
    entry = injection(name)
    for t0 in entry.t0s(SCHEDULE, 0.2, [100, 300]):
        x_t, t = entry.start(MU if entry.uses_mu else None, SHAPE, SCHEDULE, t0, ImageRng([0, 1]))
        assert x_t.shape == MU.shape
        assert t == t0  # the state is handed on at the step that it was asked for
        again, _ = entry.start(MU if entry.uses_mu else None, SHAPE, SCHEDULE, t0, ImageRng([0, 1]))
        assert torch.equal(x_t, again)
        if entry.uses_mu:
            other, _ = entry.start(-MU, SHAPE, SCHEDULE, t0, ImageRng([0, 1]))
            steps = torch.full((2,), t)
            shown, other_shown = (entry.condition(x, steps, mu, SCHEDULE) for x, mu in ((x_t, MU), (other, -MU)))
            assert shown.shape == (2, entry.channels, *SHAPE[1:])
            changed = not torch.equal(x_t, other) or not torch.equal(shown, other_shown)
            assert changed, "a prior that is stored and not used"


def test_start_has_the_forward_marginal():
    mu = torch.full((64, 3, 32, 32), 0.5)
    x_t, _ = injection("start").start(mu, mu.shape[1:], SCHEDULE, 300, ImageRng(range(64)))
    assert x_t.mean().item() == pytest.approx(SCHEDULE.abar(300) ** 0.5 * 0.5, abs=0.01)
    assert x_t.std().item() == pytest.approx((1 - SCHEDULE.abar(300)) ** 0.5, abs=0.01)


def test_steps_to_enter_at_lie_in_the_schedule():
    for entry in map(injection, injections()):
        assert all(0 <= t0 < 100 for t0 in entry.t0s(Schedule.linear(100), 0.2, [25, 75, 200, 450]))
    assert injection("start").t0s(Schedule.linear(100), 0.2, [25, 75, 100, 450]) == [25, 75]


@pytest.mark.parametrize("t0", [30, 97, 258, 475, 900])
def test_blend_equals_start_at_its_t0(t0):
    mu = torch.rand(2, *SHAPE) * 2 - 1
    a, _ = injection("blend").start(mu, SHAPE, SCHEDULE, t0, ImageRng([0, 1]))
    b, _ = injection("start").start(mu, SHAPE, SCHEDULE, t0, ImageRng([0, 1]))
    assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(("w", "t0"), [(0.25, 475), (0.5, 258), (0.75, 97), (0.9, 30)])
def test_weights_of_published_blends(w, t0):
    assert min(range(1000), key=lambda t: abs(weight_at(SCHEDULE, t) - w)) == t0


@pytest.mark.parametrize(("sigma", "t"), [(15, 32), (25, 56), (50, 114)])
def test_matched_step(sigma, t):
    assert SCHEDULE.matched_step(2 * sigma / 255) == t


def test_matched_start_has_the_marginal_of_its_step():
    sigma = 50 / 255
    y = 0.3 + sigma * ImageRng(range(64)).randn(3, 32, 32)
    (t,) = injection("matched").t0s(SCHEDULE, sigma, [1, 2, 3])
    x_t, at = injection("matched").start(y, y.shape[1:], SCHEDULE, t, ImageRng(range(64)))
    assert at == t
    assert x_t.std().item() == pytest.approx((1 - SCHEDULE.abar(t)) ** 0.5, rel=0.02)


def test_raw_is_off_the_marginal_on_purpose():
    mu = torch.zeros(64, 3, 32, 32)
    x_t, t = injection("raw").start(mu, mu.shape[1:], SCHEDULE, 0, ImageRng(range(64)))
    assert t == 999
    assert x_t.std().item() == pytest.approx(0.5, abs=0.01)  # N(0, 1) is what the network expects there


def test_none_is_pure_noise_at_the_last_step():
    x_t, t = injection("none").start(None, SHAPE, SCHEDULE, 0, ImageRng([5]))
    assert t == 999
    assert torch.equal(x_t, ImageRng([5]).randn(*SHAPE))
