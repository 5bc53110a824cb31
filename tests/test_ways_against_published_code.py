"""Ways of fitting beside published code that can be installed: deepinv's (BSD-3), on one image.

The code of the other ways' authors is on no package index, and most of it has no licence: closed forms test those
(``tests/test_ways.py``).
"""

from __future__ import annotations

import pytest
import torch

from dipddpm.dip.deep_decoder import DeepDecoder
from dipddpm.dip.skip import SkipNet
from dipddpm.fitting import fit_dip
from dipddpm.fitting.plain import Plain
from dipddpm.fitting.sure import divergence
from dipddpm.fitting.trajectory import misfit
from dipddpm.networks import network_of
from dipddpm.rng import ImageRng
from dipddpm.tasks import Observation
from dipddpm.tasks.denoise import Identity

deepinv = pytest.importorskip("deepinv", reason="needs pip install 'dipddpm[peers]'")
SIZE, SIGMA, LR = 16, 0.2, 0.01


@pytest.fixture(autouse=True)
def double_precision():
    """In float32 Adam makes whole steps of rounding errors, and two programs drift apart."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def noisy() -> Observation:
    y = torch.linspace(-1, 1, SIZE).repeat(1, 3, SIZE, 1) + SIGMA * ImageRng([7]).randn(3, SIZE, SIZE).double()
    return Observation(y, Identity(), SIGMA, "proximal")


@pytest.mark.parametrize(("kind", "width"), [(SkipNet, 4), (DeepDecoder, 8)])
@pytest.mark.parametrize("iterations", [1, 20])
@pytest.mark.numerics
def test_plain_is_their_deep_image_prior(monkeypatch, kind, width, iterations):
    observation = noisy()
    ours = fit_dip(
        kind, observation, ImageRng([11]), iterations=[iterations], size=SIZE, width=width,
        method=Plain(lr=LR, input_noise=0.0),
    ).mu(iterations)  # fmt: skip
    network, z = network_of(kind, 11, SIZE, width)
    monkeypatch.setattr(torch, "randn", lambda size, **_: z[0])
    theirs = deepinv.models.DeepImagePrior(network, z.shape[1:], iterations, LR)
    found = theirs(observation.y, deepinv.physics.Denoising())
    assert (found - observation.y).abs().max() > 0.05, "an image that is y itself would say nothing"
    assert torch.allclose(ours, found, atol=1e-7)


def test_the_estimate_of_sure_is_theirs():
    """Ours leaves out the variance of the noise, which is a constant."""
    y, seed, e = noisy().y, 5, 0.01 * SIGMA
    mixture = torch.nn.Conv2d(3, 3, 3, padding=1)
    theirs = deepinv.loss.SureGaussianLoss(SIGMA, tau=e, rng=torch.Generator().manual_seed(seed))
    physics = deepinv.physics.Denoising()
    value = theirs(y, mixture(y), physics, lambda image, _: mixture(image))
    b = torch.empty_like(y).normal_(generator=torch.Generator().manual_seed(seed))
    here, there = mixture(y), mixture(y + e * b)
    ours = misfit(here, noisy(), SkipNet, SIZE) + 2 * SIGMA**2 * divergence(here, there, b, e)
    assert torch.allclose(ours - SIGMA**2, value, atol=1e-9)
