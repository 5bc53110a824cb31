"""Every sampler against a denoiser with known answers: for Gaussian data eps, flow and marginals have closed forms.

For x_0 ~ N(m, s^2) pixel by pixel, x_t ~ N(sqrt(abar_t) m, v_t) with v_t = abar_t s^2 + sigma_t^2, and the best
possible network is eps*(x_t, t) = sigma_t (x_t - sqrt(abar_t) m) / v_t. The probability flow keeps the z-score of x_t.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from dipddpm.errors import InputError
from dipddpm.rng import ImageRng
from dipddpm.sampling import (
    SAMPLERS,
    noise_levels,
    sample_daps,
    sample_ddim,
    sample_ddpm,
    sample_dpmpp_2m,
    sample_renoise,
)
from dipddpm.schedule import Schedule

SCHEDULE = Schedule.linear()
T = SCHEDULE.T
ANCESTRAL = {"ddpm": sample_ddpm, "ddim-eta-1": partial(sample_ddim, eta=1.0)}
TRAVELLERS = ANCESTRAL | {"ddim": sample_ddim, "renoise": sample_renoise}
ALL = dict(SAMPLERS) | {"ddim-eta-1": partial(sample_ddim, eta=1.0)}


def each(samplers):
    return pytest.mark.parametrize("sample", samplers.values(), ids=samplers.keys())


class Gaussian:
    """The exact denoiser of x_0 ~ N(m, s^2). It keeps what it was called with."""

    def __init__(self, m: float, s: float, schedule: Schedule = SCHEDULE):
        self.m, self.s, self.schedule = m, s, schedule
        self.calls: list[tuple[int, Tensor]] = []

    def moments(self, t: int) -> tuple[float, float]:
        """Mean and standard deviation of x_t."""
        abar = SCHEDULE.abar(t)
        return abar**0.5 * self.m, (abar * self.s**2 + 1 - abar) ** 0.5

    def eps(self, x_t: Tensor, t: int) -> Tensor:
        self.calls.append((t, x_t))
        mean, std = self.moments(t)
        return (1 - SCHEDULE.abar(t)) ** 0.5 * (x_t - mean) / std**2

    def x_0(self, x_t: Tensor, t: int) -> Tensor:
        """E[x_0 | x_t] by conditioning a Gaussian, without eps."""
        mean, std = self.moments(t)
        return self.m + SCHEDULE.abar(t) ** 0.5 * self.s**2 / std**2 * (x_t - mean)

    def flow(self, x: Tensor, t: int, to: int) -> Tensor:
        """Where the probability flow carries x from step t to step ``to``."""
        (mean, std), (mean_to, std_to) = self.moments(t), self.moments(to)
        return mean_to + std_to / std * (x - mean)

    def draw(self, rng: ImageRng, t: int, size: int = 8) -> Tensor:
        """x_t from its marginal, in float64: errors below are those of the sampler."""
        mean, std = self.moments(t)
        return mean + std * rng.randn(3, size, size).double()


class Refine:
    """Keeps what it was called with and what it gave back."""

    def __init__(self, change: Callable[[Tensor], Tensor] = lambda x_0: x_0):
        self.change = change
        self.seen: list[tuple[int, Tensor]] = []
        self.made: list[Tensor] = []

    def __call__(self, x_0: Tensor, t: int) -> Tensor:
        self.seen.append((t, x_0))
        self.made.append(self.change(x_0))
        return self.made[-1]


def error_at(sample, t_end: int, intervals: int) -> float:
    """Largest distance from the flow at ``t_end``, the last visited step."""
    model = Gaussian(0.3, 0.25)
    rng = ImageRng([1])
    x_T = model.draw(rng, T - 1)
    sample(model, x_T, range(T - 1, t_end - 1, -(T - 1 - t_end) // intervals), rng, clip=False)
    t, x_t = model.calls[-1]
    assert (t, len(model.calls)) == (t_end, intervals + 1)
    return float((x_t - model.flow(x_T, T - 1, t_end)).abs().max())


def assert_marginals(model: Gaussian, m: float) -> None:
    """Every state of every call is distributed as q(x_t | x_0 = m), to 5 standard errors of mean and variance."""
    assert model.calls
    for t, x_t in model.calls:
        abar = SCHEDULE.abar(t)
        z = (x_t - abar**0.5 * m) / (1 - abar) ** 0.5
        assert abs(float(z.mean())) < 5 / z.numel() ** 0.5, f"mean at t={t}"
        assert abs(float(z.var()) - 1) < 5 * (2 / z.numel()) ** 0.5, f"variance at t={t}"


# --- the probability flow ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count", "share"), [("ddim", 1000, 1.5e-3), ("dpmpp_2m", 500, 1.5e-4)])
def test_deterministic_samplers_follow_the_probability_flow(name, count, share):
    """The distance is that of the discretisation, linear in x_T (1.47e-3 of it for DDIM), in float64 on any CPU."""
    model, rng = Gaussian(0.3, 0.25), ImageRng([1, 2])
    x_T = model.draw(rng, T - 1)
    x_0 = SAMPLERS[name](model, x_T, SCHEDULE.steps(count), rng, clip=False)
    torch.testing.assert_close(x_0, model.flow(x_T, T - 1, -1), rtol=0, atol=share * x_T.abs().max().item())


@pytest.mark.parametrize("intervals", [50, 150])
def test_halving_the_step_halves_the_error_of_ddim_and_quarters_that_of_dpmpp_2m(intervals):
    # Measured before the jump to the clean image, which is one first-order step of another length.
    ddim, ddim_halved = (error_at(sample_ddim, 99, n) for n in (intervals, 2 * intervals))
    dpmpp, dpmpp_halved = (error_at(sample_dpmpp_2m, 99, n) for n in (intervals, 2 * intervals))
    assert 1.8 < ddim / ddim_halved < 2.2
    assert 3.6 < dpmpp / dpmpp_halved < 4.4
    assert dpmpp < ddim / 10


def test_first_step_of_dpmpp_2m_is_ddim_and_one_step_is_x_0():
    model, rng = Gaussian(0.3, 0.5), ImageRng([1])
    x_T = model.draw(rng, T - 1)
    for sample in (sample_ddim, sample_dpmpp_2m):
        sample(model, x_T, [T - 1, 600, 300], rng, clip=False)
    torch.testing.assert_close(model.calls[1][1], model.calls[4][1])
    one = sample_dpmpp_2m(model, x_T, [T - 1], rng, clip=False)
    torch.testing.assert_close(one, model.x_0(x_T, T - 1))


# --- distributions ----------------------------------------------------------------------------------------------------


@each(ANCESTRAL)
def test_ancestral_sampling_reproduces_mean_and_variance_of_the_data(sample):
    model, rng = Gaussian(0.3, 0.5), ImageRng([1, 2])
    x_0 = sample(model, model.draw(rng, T - 1, size=64), SCHEDULE.steps(T), rng, clip=False)
    assert abs(float(x_0.mean()) - 0.3) < 5 * 0.5 / x_0.numel() ** 0.5
    # The posterior variance is a lower bound of the true reverse variance (DDPM section 3.2): 1.6 % short for these
    # data at T = 1000, to which the noise of 24576 pixels adds 0.9 %.
    assert float(x_0.var()) == pytest.approx(0.25, rel=0.05)


@each(ALL)
def test_respaced_states_have_exact_marginals_for_a_point_mass(sample):
    model, rng = Gaussian(0.3, 0.0), ImageRng(range(4))
    x_0 = sample(model, model.draw(rng, T - 1, size=32), SCHEDULE.steps(12), rng, clip=False)
    assert [t for t, _ in model.calls] == SCHEDULE.steps(12)
    assert_marginals(model, 0.3)
    torch.testing.assert_close(x_0, torch.full_like(x_0, 0.3))


def test_posterior_of_the_wrong_steps_fails_the_marginals():
    class NotRespaced(Schedule):
        def posterior(self, t: int, t_prev: int) -> tuple[float, float, float]:
            return super().posterior(t, t - 1)

    model, rng = Gaussian(0.3, 0.0, NotRespaced(SCHEDULE.beta)), ImageRng(range(4))
    sample_ddpm(model, model.draw(rng, T - 1, size=32), SCHEDULE.steps(12), rng, clip=False)
    with pytest.raises(AssertionError, match="at t="):
        assert_marginals(model, 0.3)


@each(TRAVELLERS)
def test_time_travel_keeps_the_marginals(sample):
    model, rng = Gaussian(0.3, 0.0), ImageRng(range(4))
    sample(model, model.draw(rng, T - 1, size=32), SCHEDULE.steps(6), rng, clip=False, travel=3)
    assert_marginals(model, 0.3)


@each(TRAVELLERS)
def test_going_back_draws_new_noise(sample):
    model, rng = Gaussian(0.3, 0.0), ImageRng([1])
    sample(model, model.draw(rng, T - 1), [T - 1, 400], rng, clip=False, travel=2)
    (t, first), (t_again, again), *_ = model.calls
    assert t == t_again == T - 1
    # abar falls from 0.2 to 4e-5 on the way forth, so hardly anything of the first state is left.
    assert abs(float(torch.corrcoef(torch.stack([first.flatten(), again.flatten()]))[0, 1])) < 0.3


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("steps", [[999], [999, 0], [700, 300, 299, 5], [3, 2, 1, 0], SCHEDULE.steps(17)])
def test_ddim_with_eta_1_is_ddpm(steps, clip):
    model = Gaussian(0.3, 0.5)
    x_t = model.draw(ImageRng([7, 8]), steps[0])
    ddpm = sample_ddpm(model, x_t, steps, ImageRng([1, 2]), clip=clip)
    ddim = sample_ddim(model, x_t, steps, ImageRng([1, 2]), clip=clip, eta=1.0)
    torch.testing.assert_close(ddim, ddpm, rtol=0, atol=1e-9)


def test_renoise_with_eta_1_is_daps_without_draws():
    model, refine = Gaussian(0.3, 0.5), Refine(lambda x_0: 0.5 * x_0 + 0.1)
    x_t = model.draw(ImageRng([7, 8]), 900)
    ours = sample_renoise(model, x_t, [900, 400, 30], ImageRng([1, 2]), refine=refine)
    assert torch.equal(ours, sample_daps(model, x_t, [900, 400, 30], ImageRng([1, 2]), refine=refine))


@pytest.mark.parametrize("eta", [1.0, 0.7])
def test_renoise_adds_eta_times_the_level(eta):
    model, rng = Gaussian(0.3, 0.0), ImageRng(range(4))
    sample_renoise(model, model.draw(rng, 900, size=32), [900, 400, 30], rng, eta=eta)
    for t, x_t in model.calls[1:]:
        z = (x_t - SCHEDULE.abar(t) ** 0.5 * 0.3) / (1 - SCHEDULE.abar(t)) ** 0.5
        assert float(z.std()) == pytest.approx(eta, rel=5 * (2 * z.numel()) ** -0.5)


# --- cost, refinement, seeds, bounds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("travel", [1, 2, 5])
@each(TRAVELLERS)
def test_one_evaluation_a_step_and_pass(sample, travel):
    model, rng = Gaussian(0.3, 0.5), ImageRng([1])
    sample(model, model.draw(rng, 800), SCHEDULE.steps(7, 800), rng, travel=travel)
    assert [t for t, _ in model.calls] == [t for t in SCHEDULE.steps(7, 800) for _ in range(travel)]


def test_dpmpp_2m_takes_one_evaluation_a_step():
    model, rng = Gaussian(0.3, 0.5), ImageRng([1])
    sample_dpmpp_2m(model, model.draw(rng, 800), SCHEDULE.steps(7, 800), rng)
    assert [t for t, _ in model.calls] == SCHEDULE.steps(7, 800)


@each(ALL)
def test_refine_sees_every_prediction_with_its_step_and_the_last_one_is_the_sample(sample):
    model, rng, refine = Gaussian(0.3, 0.5), ImageRng([1, 2]), Refine(lambda x_0: 0.5 * x_0 + 0.1)
    steps = [950, 500, 120, 40]
    sampled = sample(model, model.draw(rng, steps[0]), steps, rng, refine=refine, clip=False)
    assert [t for t, _ in refine.seen] == steps
    for (t, x_0), (_, x_t) in zip(refine.seen, model.calls, strict=True):
        torch.testing.assert_close(x_0, model.x_0(x_t, t))
    torch.testing.assert_close(sampled, refine.made[-1])


@each(ALL)
def test_states_follow_the_refined_image_and_not_the_predicted_one(sample):
    model, rng = Gaussian(0.3, 0.0), ImageRng(range(4))
    truth = Gaussian(-0.6, 0.0)
    x_T = truth.draw(rng, T - 1, size=32)
    x_0 = sample(model, x_T, SCHEDULE.steps(8), rng, refine=Refine(lambda x_0: torch.full_like(x_0, truth.m)))
    assert_marginals(model, truth.m)
    torch.testing.assert_close(x_0, torch.full_like(x_0, truth.m))


@each(TRAVELLERS)
def test_refine_is_called_on_every_pass_of_time_travel(sample):
    model, rng, refine = Gaussian(0.3, 0.5), ImageRng([1]), Refine()
    sample(model, model.draw(rng, 900), [900, 400], rng, travel=2, refine=refine)
    assert [t for t, _ in refine.seen] == [900, 900, 400, 400]


@each(ALL)
@pytest.mark.numerics
def test_an_image_does_not_depend_on_its_batch(sample):
    model, seeds = Gaussian(0.3, 0.5), [10, 11, 12]
    x_T = model.draw(ImageRng([4, 5, 6]), T - 1)
    together = sample(model, x_T, SCHEDULE.steps(9), ImageRng(seeds))
    for i, seed in enumerate(seeds):
        alone = sample(model, x_T[i : i + 1], SCHEDULE.steps(9), ImageRng([seed]))
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-12)


@each(ALL)
@pytest.mark.numerics
def test_same_seeds_same_sample(sample):
    model = Gaussian(0.3, 0.5)
    x_T = model.draw(ImageRng([4, 5]), T - 1)
    first, second = (sample(model, x_T, SCHEDULE.steps(9), ImageRng([1, 2])) for _ in range(2))
    assert torch.equal(first, second)


@each(ANCESTRAL)
def test_another_seed_is_another_sample(sample):
    model = Gaussian(0.3, 0.5)
    x_T = model.draw(ImageRng([4]), T - 1)
    first, second = (sample(model, x_T, SCHEDULE.steps(9), ImageRng([seed])) for seed in (1, 2))
    assert float((first - second).abs().max()) > 0.1


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m"])
def test_deterministic_samplers_draw_nothing(name):
    model, rng = Gaussian(0.3, 0.5), ImageRng([1])
    x_T = model.draw(ImageRng([4]), T - 1)
    SAMPLERS[name](model, x_T, SCHEDULE.steps(9), rng)
    assert torch.equal(rng.randn(5), ImageRng([1]).randn(5))


@each(ALL)
def test_clip_bounds_the_predicted_image_but_not_the_refined_one(sample):
    model = Gaussian(0.0, 3.0)
    x_T = model.draw(ImageRng([4]), T - 1)

    def largest(clip: bool) -> float:
        refine = Refine()
        sample(model, x_T, SCHEDULE.steps(9), ImageRng([1]), clip=clip, refine=refine)
        return max(float(x_0.abs().max()) for _, x_0 in refine.seen)

    assert largest(clip=True) <= 1
    assert largest(clip=False) > 2
    doubled = sample(model, x_T, SCHEDULE.steps(9), ImageRng([1]), refine=Refine(lambda x_0: 2 * x_0))
    assert float(doubled.abs().max()) == 2


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [[], [1, 2], [5, 5, 3], [900, 300, 400]])
@each(SAMPLERS)
def test_steps_must_descend(sample, steps):
    with pytest.raises(InputError, match="strictly descending"):
        sample(Gaussian(0.3, 0.5), torch.zeros(1, 3, 4, 4), steps, ImageRng([1]))


@pytest.mark.parametrize("steps", [[1000, 5], [5, -1]])
@each(SAMPLERS)
def test_steps_must_lie_in_the_schedule(sample, steps):
    with pytest.raises(InputError, match=r"steps in 0\.\.999"):
        sample(Gaussian(0.3, 0.5), torch.zeros(1, 3, 4, 4), steps, ImageRng([1]))


@pytest.mark.parametrize("travel", [0, -1])
@each(TRAVELLERS)
def test_travel_must_be_at_least_one(sample, travel):
    with pytest.raises(InputError, match="at least 1"):
        sample(Gaussian(0.3, 0.5), torch.zeros(1, 3, 4, 4), [5], ImageRng([1]), travel=travel)


@pytest.mark.parametrize("travel", [0, 2])
def test_dpmpp_2m_does_not_travel(travel):
    with pytest.raises(InputError, match="travel must be 1"):
        sample_dpmpp_2m(Gaussian(0.3, 0.5), torch.zeros(1, 3, 4, 4), [5], ImageRng([1]), travel=travel)


# ---- a chain that visits step 0, and the draws of DAPS --------------------------------------------------------------


@pytest.mark.parametrize("sample", [sample_dpmpp_2m, sample_renoise, sample_daps])
def test_step_0_is_visited_as_any_other(sample):
    """Its state still carries the noise of step 0: the clean image comes after it."""
    model, eta = Gaussian(0.2, 0.5), {} if sample is sample_dpmpp_2m else {"eta": 0.0}
    x = model.draw(ImageRng([1]), 500)
    refine = Refine()
    last = sample(model, x, [500, 0], ImageRng([2]), refine=refine, clip=0.0, **eta)
    assert [t for t, _ in model.calls] == [500, 0] and [t for t, _ in refine.seen] == [500, 0]
    state, first = model.calls[1][1], refine.seen[0][1]
    abar = SCHEDULE.abar(0)
    if sample is sample_renoise:
        assert torch.allclose(state, abar**0.5 * first)
    elif sample is sample_daps:
        assert torch.allclose(state, abar**0.5 * first + (1 - abar) ** 0.5 * ImageRng([2]).randn(3, 8, 8))
    else:
        assert torch.allclose(last, sample_ddim(model, x, [500, 0], ImageRng([2]), clip=0.0), atol=1e-9)
        assert not torch.allclose(state, first, atol=1e-4)


def test_daps_draws_around_the_image_of_the_flow_before_it_is_refined():
    model, refine, rng = Gaussian(0.2, 0.5), Refine(), ImageRng([5, 6])
    x = model.draw(ImageRng([1, 2]), 500)
    last = sample_daps(model, x, [500, 100], ImageRng([5, 6]), eta=0.7, refine=refine, clip=0.0)
    spread = (1 - SCHEDULE.abar(500)) ** 0.5
    image = sample_ddim(model, x, [500], ImageRng([0, 0]), clip=0.0)
    assert torch.allclose(refine.seen[0][1], image + 0.7 * spread * rng.randn(3, 8, 8))
    abar = SCHEDULE.abar(100)
    state = abar**0.5 * refine.seen[0][1] + (1 - abar) ** 0.5 * rng.randn(3, 8, 8)
    assert torch.allclose(model.calls[1][1], state)
    assert torch.allclose(last, sample_ddim(model, state, [100], ImageRng([0, 0]), clip=0.0)), "no draw at the end"


def test_going_back_adds_the_noise_of_the_way():
    model, rng = Gaussian(0.2, 0.5), ImageRng([3])
    x = model.draw(ImageRng([1]), 500)
    sample_ddim(model, x, [500, 300], ImageRng([3]), clip=0.0, travel=2)
    down = sample_ddim(Gaussian(0.2, 0.5), x, [500, 300], ImageRng([0]), clip=0.0, refine=(states := Refine()))
    assert down.shape == x.shape and [t for t, _ in model.calls] == [500, 500, 300, 300]
    abar_t, abar_s = SCHEDULE.abar(500), SCHEDULE.abar(300)
    x_0 = states.seen[0][1]
    below = abar_s**0.5 * x_0 + ((1 - abar_s) / (1 - abar_t)) ** 0.5 * (x - abar_t**0.5 * x_0)
    ratio = abar_t / abar_s
    again = ratio**0.5 * below + (1 - ratio) ** 0.5 * rng.randn(3, 8, 8)
    assert torch.allclose(model.calls[1][1], again)


def test_every_step_of_a_schedule_can_be_spaced_by_level():
    short = Schedule.linear(10)
    assert noise_levels(short, 10) == list(range(9, -1, -1)), "down to 0, each step its neighbour"
    assert noise_levels(short, 7, least=3) == list(range(9, 2, -1))
