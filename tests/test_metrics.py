"""PSNR and SSIM against scikit-image, on noise, blur and crops of photographs."""

import pytest
import skimage.metrics
import torch

from dipddpm.data import open_dataset, to_float
from dipddpm.metrics import metrics
from dipddpm.metrics.psnr import Psnr
from dipddpm.metrics.ssim import Ssim


@pytest.fixture(scope="module")
def pairs():
    x = to_float(open_dataset("photo-patches").sample("test", 6))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([0.01, 0.05, 0.1, 0.3, 1.0, 3.0])[:, None, None, None]
    return x, x + scale * noise


def as_numpy(x):
    return ((x.clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).double().numpy()


@pytest.mark.numerics
def test_psnr_equals_scikit_image(pairs):
    x, x_hat = pairs
    theirs = [
        skimage.metrics.peak_signal_noise_ratio(a, b, data_range=1.0)
        for a, b in zip(as_numpy(x), as_numpy(x_hat), strict=True)
    ]
    assert Psnr()(x_hat, x).tolist() == pytest.approx(theirs, abs=1e-3)


@pytest.mark.parametrize("size", [32, 24, 11])
@pytest.mark.numerics
def test_ssim_equals_scikit_image(pairs, size):
    x, x_hat = (p[..., :size, :size] for p in pairs)
    theirs = []
    for a, b in zip(as_numpy(x), as_numpy(x_hat), strict=True):
        _, full = skimage.metrics.structural_similarity(
            a, b, channel_axis=-1, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            full=True,
        )  # fmt: skip
        theirs.append(full.mean())
    assert Ssim()(x_hat, x).tolist() == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("name", sorted(metrics()))
@pytest.mark.numerics
def test_contract(name, pairs):
    x, x_hat = pairs
    metric = metrics()[name]()
    values = metric(x_hat, x)
    assert values.shape == (len(x),)
    assert torch.allclose(metric(x_hat[2:3], x[2:3]), values[2:3], atol=1e-5)
    assert metric.definition and metric.kind == "quality"
    sign = 1 if metric.higher_is_better else -1
    assert (sign * values).diff().lt(0).all(), "more noise must score worse"


def test_equal_images_have_a_finite_score(pairs):
    x, _ = pairs
    assert torch.equal(Psnr()(x, x), torch.full((len(x),), 100.0))
    assert torch.allclose(Ssim()(x, x), torch.ones(len(x)), atol=1e-6)


def test_known_values():
    black, white = torch.full((1, 3, 16, 16), -1.0), torch.ones(1, 3, 16, 16)
    assert Psnr()(white, black).item() == pytest.approx(0.0, abs=1e-5)
    assert Psnr()(black + 0.2, black).item() == pytest.approx(20.0, abs=1e-4)  # error 0.1 on [0, 1]
    assert Ssim()(white, black).item() == pytest.approx(0.0001 / 1.0001, abs=1e-5)  # C1 / (1 + C1)
