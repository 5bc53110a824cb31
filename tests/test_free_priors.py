"""Known answers of the priors that are made from y alone: ramps, flat areas, noise."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.errors import InputError
from dipddpm.priors import Evidence, prior
from dipddpm.priors.tv import OPPONENT, TotalVariation
from dipddpm.rng import ImageRng
from dipddpm.tasks import Observation, task
from dipddpm.tasks.inpaint import Mask


def error(x: Tensor, x_0: Tensor) -> float:
    return (x - x_0).square().mean().item()


# Known answers: holes


def ramp(size: int = 32) -> Tensor:
    """An image that is linear in both directions, another slope per colour, (1, 3, size, size)."""
    across = torch.linspace(-1, 1, size)
    planes = [
        0.3 * across[:, None] + 0.2 * across,
        -0.4 * across[:, None] + 0 * across,
        0.1 + 0.5 * across.expand(size, -1),
    ]
    return torch.stack(planes)[None]


def observed_through(mask: Tensor, x_0: Tensor) -> Evidence:
    return Evidence(Observation(mask * x_0, Mask(mask)))


def holes_inside(size: int = 32) -> Tensor:
    """70 % of the pixels missing, but none of the border, so that nothing is extrapolated."""
    mask = (torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(5)) < 0.3).float()
    mask[..., :3, :] = mask[..., -3:, :] = mask[..., :3] = mask[..., -3:] = 1
    return mask


@pytest.mark.parametrize("name", ["biharmonic", "linear", "cubic"])
def test_a_fill_reproduces_a_linear_ramp(name):
    shown = observed_through(holes_inside(), ramp())
    assert error(shown.observation.y, ramp()) > 1e-2
    assert (prior(name).mu(shown) - ramp()).abs().max() < 1e-3


@pytest.mark.parametrize("name", ["biharmonic", "linear", "cubic", "tv", "fsr"])
def test_a_fill_of_one_colour_is_that_colour(name):
    x_0 = torch.tensor([0.2, -0.6, 0.8]).reshape(1, 3, 1, 1).expand(1, 3, 32, 32)
    for at in ("inpaint", "inpaint_box"):
        shown = Evidence(task(at).observe(x_0, ImageRng([0])))
        if prior(name).applies(shown.observation):
            assert (prior(name).mu(shown) - x_0).abs().max() < (0.02 if name == "fsr" else 1e-3)  # 8 bits


@pytest.mark.parametrize("name", ["biharmonic", "linear", "cubic", "tv", "fsr"])
def test_an_image_without_holes_stays_as_it_is(name, photographs):
    shown = observed_through(torch.ones(1, 1, 32, 32), photographs)
    if prior(name).applies(shown.observation):
        assert torch.allclose(prior(name).mu(shown), photographs, atol=1e-5)


@pytest.mark.parametrize("name", ["biharmonic", "linear", "cubic"])
def test_a_single_observed_pixel_fills_the_image(name):
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 3, 4] = 1
    mu = prior(name).mu(observed_through(mask, torch.full((1, 3, 8, 8), 0.5)))
    assert (mu - 0.5).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["biharmonic", "linear", "cubic"])
def test_an_image_of_which_nothing_was_seen_is_refused(name, photographs):
    mask = torch.ones(3, 1, 32, 32)
    mask[1] = 0
    with pytest.raises(InputError, match="image 1 of the batch has no observed pixel"):
        prior(name).mu(observed_through(mask, photographs))


def test_total_variation_fills_two_areas_with_their_colours():
    """Two flat halves, the boundary known: least variation has no third colour. What blurs cannot do."""
    x_0 = torch.full((1, 3, 32, 32), -0.5)
    x_0[..., 16:] = 0.7
    mask = holes_inside()
    mask[..., 14:18] = 1
    shown = observed_through(mask, x_0)
    start, ours = (prior("blur").mu(shown), TotalVariation().mu(shown))
    assert (ours - x_0).abs().max() < 0.05 and error(ours, x_0) < error(start, x_0) / 100


def test_more_alternations_bring_the_variation_down(evidence):
    """What is minimised, written out: the mean length of the gradient, in opponent colours."""

    def variation(x: Tensor) -> float:
        colours = torch.einsum("kc,nchw->nkhw", torch.from_numpy(OPPONENT).float(), x)
        across, down = F.pad(colours.diff(dim=-1), (0, 1)), F.pad(colours.diff(dim=-2), (0, 0, 0, 1))
        return (across.square() + down.square()).sqrt().mean().item()

    for name in ("inpaint", "super_resolution"):
        found = [variation(prior("blur").mu(evidence[name]))]
        found += [variation(TotalVariation(0.05, n).mu(evidence[name])) for n in (1, 4, 16)]
        assert found == sorted(found, reverse=True) and found[-1] < 0.95 * found[0]


# Known answers: small and noisy images


@pytest.mark.parametrize("name", ["lanczos", "bicubic", "tv"])
def test_an_enlarged_ramp_is_a_ramp(name):
    """Inside, where no border is extrapolated, to far less than the steps of the repeated blocks."""
    shown = Evidence(task("super_resolution").observe(ramp(), ImageRng([0])))
    repeated = shown.observation.pinv
    mu = prior(name).mu(shown)
    inside = (..., slice(8, -8), slice(8, -8))
    assert error(mu[inside], ramp()[inside]) < error(repeated[inside], ramp()[inside]) / (2 if name == "tv" else 20)


@pytest.mark.parametrize("name", ["nlm", "tv", "wavelet"])
@pytest.mark.parametrize("at", ["denoise_15", "denoise_25", "denoise_50"])
def test_noise_is_reduced(name, at, evidence, photographs):
    """By the best variant to less than 0.6 of its power at the least noise, less of it at more."""
    observation = evidence[at].observation
    noise = error(observation.y, photographs)
    best = min(error(variant.mu(evidence[at]), photographs) for variant in prior(name).variants())
    assert best < {15: 0.6, 25: 0.4, 50: 0.25}[int(at[-2:])] * noise


@pytest.mark.parametrize("name", ["nlm", "wavelet"])
def test_without_noise_little_is_smoothed(name, photographs):
    """The strength follows the noise level that it is told."""
    x_0 = ramp()
    clear = Observation(x_0, task("denoise_25").operator(ImageRng([0]), 32), 1e-4, "proximal")
    assert (prior(name).mu(Evidence(clear)) - x_0).abs().max() < 0.01
