"""ST-LPIPS against the authors' package, and that no value depends on what else is scored."""

import math
import sys
from dataclasses import replace
from types import ModuleType

import numerics
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.functional import gaussian_blur

from dipddpm.data import open_dataset, to_float
from dipddpm.errors import InputError
from dipddpm.measure.content import describe_call
from dipddpm.metrics import metrics, st_lpips
from dipddpm.metrics.psnr import Psnr
from dipddpm.metrics.st_lpips import StLpips
from dipddpm.restore import score


@pytest.fixture(scope="module")
def photographs():
    return to_float(open_dataset("photo-patches").sample("test", 6))


def noisy(x, sigma=0.2, seed=0):
    return x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def theirs():
    """The authors' own network. Their modules import two packages that its forward pass does not use."""
    with pytest.MonkeyPatch.context() as patched:
        for package, name in (("IPython", "embed"), ("torchsummary", "summary")):
            stand_in = ModuleType(package)
            setattr(stand_in, name, None)
            patched.setitem(sys.modules, package, stand_in)
        package = pytest.importorskip(
            "stlpips_pytorch.stlpips", reason="the code of stlpips-pytorch does not import here", exc_type=ImportError
        )
        network = package.LPIPS(net="alex", variant="shift_tolerant", verbose=False)

    def distances(x_hat, x_0):
        factor = max(1, math.ceil(128 / min(x_0.shape[-2:])))
        large = [
            F.interpolate(x.clamp(-1, 1), scale_factor=factor, mode="bilinear", align_corners=False)
            for x in (x_hat, x_0)
        ]
        with torch.no_grad():
            return network(*large).flatten()

    return distances


@pytest.mark.numerics
@pytest.mark.parametrize("size", [(32, 32), (24, 40), (45, 50), (64, 64), (130, 128), (129, 131)])
def test_it_equals_the_authors_package_on_noise_of_any_size(theirs, size):
    """Factors of 4, 6, 3, 2 and 1, even and odd sizes: each has other borders and phases."""
    x_0 = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    x_hat = noisy(x_0, 0.5)
    assert torch.allclose(StLpips()(x_hat, x_0), theirs(x_hat, x_0), rtol=0, atol=1e-5)


@pytest.mark.numerics
def test_it_equals_the_authors_package_on_photographs(theirs, photographs):
    for x_hat in (noisy(photographs), gaussian_blur(photographs, [9, 9], [1.0, 1.0]), photographs.roll(1, 3)):
        expected = theirs(x_hat, photographs)
        assert expected.min() > 0.001  # far above the tolerance
        assert torch.allclose(StLpips()(x_hat, photographs), expected, rtol=0, atol=1e-5)


def test_equal_images_score_zero(photographs):
    assert torch.equal(StLpips()(photographs, photographs), torch.zeros(len(photographs)))


def test_more_blur_and_more_noise_score_worse(photographs):
    metric = StLpips()
    by_noise = torch.stack([metric(noisy(photographs, sigma), photographs) for sigma in (0.02, 0.1, 0.3, 1.0)])
    assert by_noise.diff(dim=0).gt(0).all()
    blurred = [gaussian_blur(photographs, [13, 13], [sigma, sigma]) for sigma in (0.5, 1.0, 2.0)]
    assert torch.stack([metric(x_hat, photographs) for x_hat in blurred]).diff(dim=0).gt(0).all()


def test_it_sees_what_pixels_do_not(photographs):
    """A photograph that is shifted by a pixel looks the same, whatever its PSNR; noise of that PSNR does not."""
    x_hat = photographs.roll(1, 3)
    error = (x_hat - photographs).square().mean((1, 2, 3), keepdim=True).sqrt()
    worse = photographs + error * noisy(torch.zeros_like(photographs), 1.0)
    assert Psnr()(worse, photographs).mean() >= Psnr()(x_hat, photographs).mean() - 0.1
    assert (StLpips()(x_hat, photographs) < 0.5 * StLpips()(worse, photographs)).all()


def test_values_outside_the_range_are_clipped(photographs):
    x_hat = noisy(photographs, 1.0)
    assert torch.equal(StLpips()(x_hat, photographs), StLpips()(x_hat.clamp(-1, 1), photographs))


@pytest.mark.numerics
def test_a_value_is_the_same_bit_for_bit_in_any_batch(photographs):
    x_hat, metric = noisy(photographs), StLpips()
    whole = metric(x_hat, photographs)
    st_lpips._photograph.cache_clear()
    order = torch.tensor([4, 1, 5])
    numerics.assert_same_bits(metric(x_hat[order], photographs[order]), whole[order])
    numerics.assert_same_bits(metric(x_hat[:1], photographs[:1]), whole[:1])
    numerics.assert_same_bits(metric(x_hat.contiguous(memory_format=torch.channels_last), photographs), whole)


def test_a_photograph_is_looked_at_once(photographs):
    metric = StLpips()
    st_lpips._photograph.cache_clear()
    for seed in range(3):
        metric(noisy(photographs, seed=seed), photographs.clone())
    seen = st_lpips._photograph.cache_info()
    assert (seen.misses, seen.hits) == (len(photographs), 2 * len(photographs))
    assert seen.maxsize == st_lpips.PHOTOGRAPHS
    # A photograph is known by every pixel, and not by where it lies in memory.
    other = photographs.clone()
    other[0, 0, 0, 0] += 0.01
    assert metric(photographs, other)[0] > 0


def test_it_is_known_by_its_code_alone():
    assert vars(StLpips()) == {} and StLpips() == StLpips()
    StLpips().check()
    described = describe_call(score, {"by": [metric() for metric in metrics().values()]})
    assert {"dipddpm.metrics.st_lpips:StLpips": {}} in described["arguments"]["by"]


def test_it_says_which_way_is_better_and_what_it_is(photographs):
    assert not StLpips.higher_is_better and StLpips.perceptual and StLpips.unit == ""
    assert "x4" in StLpips.definition and "bilinear" in StLpips.definition
    assert [name for name, metric in metrics().items() if metric.perceptual] == ["st_lpips"]


def test_other_images_than_pairs_of_colour_images_are_refused(photographs):
    for x_hat, x_0 in ((photographs[:2], photographs), (photographs[:, :1], photographs[:, :1])):
        with pytest.raises(InputError, match=r"st_lpips: takes pairs of \(N, 3, H, W\) images, got \(\d, \d, 32, 32\)"):
            StLpips()(x_hat, x_0)


@pytest.fixture
def other_weights(monkeypatch):
    def use(**change):
        monkeypatch.setattr(st_lpips, "WEIGHTS", replace(st_lpips.WEIGHTS, **change))
        st_lpips._network.cache_clear()

    yield use
    st_lpips._network.cache_clear()


def test_weights_that_are_missing_or_damaged_are_refused(other_weights):
    other_weights(package="no_such_wheel")
    with pytest.raises(InputError, match=r"metric st_lpips: the weights no_such_wheel/weights.*install"):
        StLpips().check()
    other_weights(package="stlpips_pytorch", sha256="0" * 64)
    with pytest.raises(InputError, match=r"metric st_lpips: weights .*alex_shift_tolerant\.pth: sha256 is b356b382"):
        StLpips().check()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_to_rounding(photographs):
    x_hat = noisy(photographs)
    there = StLpips()(x_hat.cuda(), photographs.cuda())
    assert there.device.type == "cuda"
    assert torch.allclose(there.cpu(), StLpips()(x_hat, photographs), rtol=0, atol=1e-5)
