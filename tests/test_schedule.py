"""The closed forms of the diffusion against formulas written out a second time."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch

from dipddpm.errors import InputError
from dipddpm.schedule import Schedule

PAIRS = [(999, 998), (999, -1), (999, 0), (700, 300), (300, 299), (50, 3), (1, 0), (0, -1)]


@pytest.fixture(scope="module")
def schedule() -> Schedule:
    return Schedule.linear()


def test_alpha_bar_is_the_running_product_of_one_minus_beta(schedule):
    # Exact fractions: no rounding in common with the cumulative product under test.
    beta = [Fraction(1, 10_000) + i * (Fraction(2, 100) - Fraction(1, 10_000)) / 999 for i in range(1000)]
    for t in (0, 1, 10, 300, 999):
        assert schedule.abar(t) == pytest.approx(float(math.prod(1 - b for b in beta[: t + 1])), rel=1e-12)
    assert schedule.T == 1000
    assert schedule.abar(-1) == 1.0
    assert schedule.abar(999) == pytest.approx(
        4.0358e-5, rel=1e-4
    )  # the end of DDPM's schedule, as published code has it


def test_noising_is_undone_by_the_noise(schedule):
    generator = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 4, 3, 8, 8, generator=generator, dtype=torch.float64)
    t = torch.tensor([0, 17, 500, 999])
    x_t = schedule.q_sample(x_0, t, eps)
    for i, step in enumerate(t.tolist()):
        abar = schedule.abar(step)
        torch.testing.assert_close(x_t[i], math.sqrt(abar) * x_0[i] + math.sqrt(1 - abar) * eps[i])
    torch.testing.assert_close(schedule.predict_x0(x_t, t, eps), x_0, rtol=0, atol=1e-10)


def test_coefficients_take_the_precision_of_the_image(schedule):
    x_0 = torch.zeros(2, 3, 4, 4)
    assert schedule.q_sample(x_0, torch.tensor([0, 999]), x_0).dtype == torch.float32


@pytest.mark.parametrize("t", [1, 2, 500, 999])
def test_posterior_of_adjacent_steps_is_the_textbook_formula(schedule, t):
    # DDPM eq. 7.
    beta, abar, abar_before = float(schedule.beta[t]), schedule.abar(t), schedule.abar(t - 1)
    expected = (
        math.sqrt(abar_before) * beta / (1 - abar),
        math.sqrt(1 - beta) * (1 - abar_before) / (1 - abar),
        (1 - abar_before) / (1 - abar) * beta,
    )
    assert schedule.posterior(t, t - 1) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_posterior_and_marginal_compose_to_the_earlier_marginal(schedule, t, s):
    of_x0, of_xt, variance = schedule.posterior(t, s)
    abar_t, abar_s = schedule.abar(t), schedule.abar(s)
    # x_t = sqrt(abar_t) x_0 + sigma_t eps put into the posterior: mean and variance of q(x_s | x_0) come out.
    assert of_x0 + of_xt * math.sqrt(abar_t) == pytest.approx(math.sqrt(abar_s), abs=1e-12)
    assert of_xt**2 * (1 - abar_t) + variance == pytest.approx(1 - abar_s, abs=1e-12)
    # Every DDIM keeps these two moments; the covariance with x_t tells the true posterior from the others.
    assert of_xt * (1 - abar_t) == pytest.approx(math.sqrt(abar_t / abar_s) * (1 - abar_s), abs=1e-12)


def test_posterior_at_the_clean_image_is_the_image(schedule):
    assert schedule.posterior(400, -1) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(("t", "s"), [(5, 5), (5, 6), (1000, 3), (5, -2), (-1, -1)])
def test_posterior_refuses_pairs_that_are_not_earlier_in_the_schedule(schedule, t, s):
    with pytest.raises(InputError, match="posterior needs"):
        schedule.posterior(t, s)


def test_steps_known_answers(schedule):
    assert schedule.steps(10) == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    assert schedule.steps(1) == [999]
    assert schedule.steps(3, t_start=8) == [8, 5, 2]
    assert schedule.steps(1, t_start=0) == [0]
    assert schedule.steps(1000) == list(range(999, -1, -1))


def test_steps_start_where_asked_and_descend_for_every_start_and_count():
    schedule = Schedule.linear(T=50)
    for t_start in range(50):
        for count in range(1, t_start + 2):
            steps = schedule.steps(count, t_start)
            assert steps[0] == t_start
            assert len(steps) == count
            assert steps[-1] >= 0
            assert all(a > b for a, b in pairwise(steps))


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_steps_refuse_a_count_that_does_not_fit(schedule, count):
    with pytest.raises(InputError, match="steps do not fit"):
        schedule.steps(count)


def test_steps_refuse_more_than_lie_below_the_start(schedule):
    assert len(schedule.steps(6, t_start=5)) == 6
    with pytest.raises(InputError, match=r"choose 1\.\.6"):
        schedule.steps(7, t_start=5)


@pytest.mark.parametrize("t_start", [-1, 1000])
def test_steps_refuse_a_start_outside_the_schedule(schedule, t_start):
    with pytest.raises(InputError, match=r"t0 must be one of the 1000 steps 0\.\.999 of the schedule, got"):
        schedule.steps(1, t_start)


@pytest.mark.parametrize("beta", [[0.0, 0.1], [0.1, 1.0], [-0.1], [1.5], [float("nan")], [[0.1, 0.2]]])
def test_beta_outside_the_open_unit_interval_is_refused(beta):
    with pytest.raises(InputError, match="beta"):
        Schedule(torch.tensor(beta))


def test_factors_are_looked_up_where_the_steps_are():
    """One table a device, copied there once: each step of a GPU would otherwise be waited for."""
    schedule, x, t = Schedule.linear(), torch.ones(2, 3, 4, 4, device="meta"), torch.zeros(2, dtype=torch.long)
    assert schedule.sigma(t.to("meta"), x).device.type == schedule.sigma(t, x).device.type == "meta"
    with torch.inference_mode():
        first = schedule.sqrt_abar(t, torch.ones(2, 3, 4, 4))
    learns = torch.ones(2, 3, 4, 4, requires_grad=True)
    (schedule.sqrt_abar(t, learns) * learns).sum().backward()  # what was made without gradients serves one
    assert torch.allclose(learns.grad, first.expand_as(learns))
    assert set(vars(schedule)) == {"beta", "alpha_bar"}, "what results are known by"
