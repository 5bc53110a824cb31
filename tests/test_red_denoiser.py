"""The way 'red_denoiser': the splitting with a denoiser whose answer is known, and what it refuses and costs."""

from __future__ import annotations

import pytest
import torch
from test_ways import SEEDS, SIZE, OneLayer, noisy, problem
from ways import Shrink

from dipddpm.errors import InputError
from dipddpm.fitting import fit_dip, fitting_method
from dipddpm.fitting.red import Red
from dipddpm.fitting.red_denoiser import RedDenoiser
from dipddpm.injection import injection
from dipddpm.measure.content import describe_call
from dipddpm.rng import ImageRng


class Counted(Shrink):
    """Keeps how many images each evaluation had."""

    def __init__(self, size: int = SIZE):
        super().__init__(size)
        self.images: list[int] = []

    def eps(self, x_t, t):
        self.images.append(len(x_t))
        return super().eps(x_t, t)


def shrinking(strength: float) -> float:
    """What :class:`Shrink` multiplies an image by, as one step: abar, which is 1 / (1 + (2 strength)^2) but for the
    nearest step."""
    schedule = Shrink.schedule
    return float(schedule.abar(schedule.matched_step(2 * strength)))


def test_the_splitting_with_a_linear_denoiser_by_hand():
    """D(x) = a x: x <- (beta a x_D + penalty (f + u)) / (beta + penalty), u <- u + f - x, with x_D of two iterations
    ago at the second."""
    a = shrinking(0.2)
    assert a == pytest.approx(1 / (1 + 0.4**2), rel=0.01)
    way = RedDenoiser(beta=0.25, penalty=0.75, strength=0.2, every=2, lr=1e-12).with_denoiser(Shrink(SIZE))
    given = problem()
    x_0 = given.observation.pinv.clamp(-0.5, 0.5)  # far from the bounds that D is clipped to
    given.observation.y.copy_(x_0)
    steps = way.begin(given)
    f = steps.image()
    x_1 = 0.25 * a * x_0 + 0.75 * f
    u_1 = f - x_1
    x_2 = 0.25 * a * x_0 + 0.75 * (f + u_1)
    u_2 = u_1 + f - x_2
    x_3 = 0.25 * a * x_2.clamp(-1 / a, 1 / a) + 0.75 * (f + u_2)
    u_3 = u_2 + f - x_3
    for x, u in ((x_1, u_1), (x_2, u_2), (x_3, u_3)):
        steps.step()
        misfit = (f - x_0).square().flatten(1).mean(1)
        expected = misfit + 0.75 * (x - f - u).square().flatten(1).mean(1)
        torch.testing.assert_close(steps.iteration.loss(f), expected)


def test_its_fixed_point_in_closed_form():
    """A = I and a network that is any image. At rest f = x, and x = (beta a x + penalty (x + u)) / (beta + penalty)
    gives u = beta (1 - a) x / penalty; f - y + penalty (f - x + u) = 0 then gives f = y / (1 + beta (1 - a))."""

    class Free(OneLayer):
        def __init__(self, size: int = SIZE, width: int | None = None):
            super().__init__(size, width)
            self.mix = torch.nn.Conv2d(3 * SIZE**2, 3 * SIZE**2, 1)

        def z_shape(self):
            return 3 * SIZE**2, 1, 1

        def layers(self, z):
            return self.mix(0 * z).view(-1, 3, SIZE, SIZE)

    y = 0.5 * noisy().y
    observation = type(noisy())(y, noisy().operator, 0.1, "proximal")
    way = RedDenoiser(beta=1.0, penalty=1.0, strength=0.5, every=1, lr=0.01).with_denoiser(Shrink(SIZE))
    steps = way.begin(problem(Free, observation))
    for _ in range(400):
        steps.step()
    torch.testing.assert_close(steps.image(), y / (1 + (1 - shrinking(0.5))), atol=5e-3, rtol=0)


def test_the_denoiser_is_evaluated_as_often_as_it_says():
    counted = Counted()
    way = RedDenoiser(every=5).with_denoiser(counted)
    fit_dip(OneLayer, noisy(), ImageRng(SEEDS), iterations=[20], size=SIZE, method=way)
    assert sum(counted.images) == 3 * 20 * way.evaluations_per_iteration and way.passes == 1
    assert Red().evaluations_per_iteration == 0


def test_it_is_known_by_its_denoiser_and_by_what_else_it_holds():
    class Other(Shrink):
        fingerprint = "other"

    ways = [RedDenoiser().with_denoiser(Shrink()), RedDenoiser().with_denoiser(Other())]
    ways.append(RedDenoiser(strength=0.3).with_denoiser(Shrink()))
    keys = [str(describe_call(fit_dip, {"method": way})["arguments"]) for way in ways]
    assert len(set(keys)) == 3 and keys[0] == str(describe_call(fit_dip, {"method": ways[0]})["arguments"])
    assert fitting_method("plain").with_denoiser(Shrink()) == fitting_method("plain")


def test_it_names_what_is_missing():
    def fit(way):
        fit_dip(OneLayer, noisy(), ImageRng(SEEDS), iterations=[1], size=SIZE, method=way)

    with pytest.raises(InputError, match=r"'red_denoiser' regularises with a denoiser.* use with_denoiser.*'red'"):
        fit(RedDenoiser())
    with pytest.raises(InputError, match=r"for images of 32 px, and these have 8: use one of that size"):
        fit(RedDenoiser().with_denoiser(Shrink(32)))
    seeing = Shrink(SIZE)
    seeing.injection = injection("concat")
    with pytest.raises(InputError, match=r"trained to see a prior by 'concat': use another denoiser"):
        fit(RedDenoiser().with_denoiser(seeing))
