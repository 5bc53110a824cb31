"""Every degradation is an operator whose laws hold, drawn from the generators of the images."""

import pytest
import torch

from dipddpm.denoisers.unet import UNetDenoiser
from dipddpm.errors import InputError
from dipddpm.injection.none import NoInjection
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule
from dipddpm.tasks import task, tasks
from dipddpm.unet import UNet

N, SIZE = 3, 16
EVERY = sorted(tasks())


@pytest.fixture
def x():
    return torch.rand(N, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1


def operator(name):
    return task(name).operator(ImageRng(range(N)), SIZE)


@pytest.mark.parametrize("name", EVERY)
def test_adjoint(name, x):
    A = operator(name)
    y = torch.randn(A.A(x).shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.allclose((A.A(x) * y).sum(), (x * A.A_adjoint(y)).sum())


@pytest.mark.parametrize("name", EVERY)
def test_pseudo_inverse(name, x):
    A = operator(name)
    assert torch.allclose(A.A(A.A_pinv(A.A(x))), A.A(x))  # A A+ A = A
    y = A.A(x)
    assert torch.allclose(A.A_pinv(A.A(A.A_pinv(y))), A.A_pinv(y))  # A+ A A+ = A+
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert torch.allclose((A.A_pinv(A.A(x)) * z).sum(), (x * A.A_pinv(A.A(z))).sum())  # A+ A is symmetric


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.numerics
def test_an_observation_depends_on_the_image_alone(name, x):
    together = task(name).observe(x.float(), ImageRng(range(N)))
    alone = task(name).observe(x[1:2].float(), ImageRng([1]))
    assert torch.equal(together.y[1:2], alone.y)
    assert torch.equal(together.pinv[1:2], alone.pinv)


@pytest.mark.parametrize("name", EVERY)
def test_a_batch_is_repeated_whole_with_every_part_of_its_operator(name, x):
    observation = task(name).observe(x.float(), ImageRng(range(N)))
    twice, guess = observation.repeat(2), torch.rand(N, 3, SIZE, SIZE)
    assert torch.equal(twice.y, torch.cat([observation.y] * 2))
    assert torch.equal(twice.refine(guess.repeat(2, 1, 1, 1), 1.0)[N:], observation.refine(guess, 1.0))
    alone = task(name).observe(x[:1].float(), ImageRng([0])).repeat(3)
    assert torch.equal(alone.pinv, observation.pinv[:1].expand(3, -1, -1, -1))


@pytest.mark.parametrize("name", [n for n in EVERY if tasks()[n].consistency == "projection"])
@pytest.mark.numerics
def test_projection_agrees_with_y_and_keeps_the_rest(name, x):
    observation = task(name).observe(x, ImageRng(range(N)))
    guess = torch.zeros_like(x)
    held = observation.consistent(guess)
    A = observation.operator
    assert torch.allclose(A.A(held), observation.y)
    assert torch.allclose(held - A.A_pinv(A.A(held)), guess - A.A_pinv(A.A(guess)), atol=1e-12)
    assert torch.allclose(observation.consistent(held), held)
    assert torch.allclose(observation.consistent(x), x)


@pytest.mark.parametrize("name", ["denoise_15", "denoise_25", "denoise_50"])
def test_noise_level_and_proximal_step(name):
    x = torch.zeros(64, 3, 32, 32)
    observation = task(name).observe(x, ImageRng(range(64)))
    assert observation.y.std().item() == pytest.approx(2 * int(name[-2:]) / 255, rel=0.02)
    guess = torch.ones_like(x)
    assert torch.allclose(observation.refine(guess, snr=1e9), guess, atol=1e-3)  # at the end the network is right
    assert torch.allclose(observation.refine(guess, snr=1e-9), observation.y, atol=1e-3)  # at the start, y
    rho = 2 * observation.sigma**2 * 3
    expected = (observation.y + rho * guess) / (1 + rho)
    assert torch.allclose(observation.refine(guess, snr=3, strength=2), expected)
    assert observation.consistent(guess) is guess  # a projection would pin it to the noise


@pytest.mark.parametrize(("name", "share"), [("inpaint", 0.7), ("inpaint_50", 0.5), ("inpaint_box", 0.25)])
def test_share_of_missing_pixels_is_exact(name, share):
    mask = task(name).operator(ImageRng(range(5)), 32).mask
    assert mask.shape == (5, 1, 32, 32)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert torch.equal((1 - mask).sum((1, 2, 3)), torch.full((5,), float(round(share * 1024))))


def test_random_masks_differ_between_images():
    mask = task("inpaint").operator(ImageRng(range(2)), 32).mask
    assert not torch.equal(mask[0], mask[1])


@pytest.mark.parametrize(("name", "factor"), [("super_resolution", 2), ("super_resolution_x4", 4)])
def test_super_resolution_takes_block_means(name, factor, x):
    y = operator(name).A(x)
    assert y.shape[-1] == SIZE // factor
    assert torch.allclose(y[..., 0, 0], x[..., :factor, :factor].mean((-1, -2)))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("size", [30, 33, 7])
def test_the_laws_hold_at_sizes_that_a_factor_does_not_divide(name, size):
    draw, A = torch.Generator().manual_seed(size), task(name).operator(ImageRng([1, 2]), size)
    x, z = (torch.rand(2, 3, size, size, generator=draw, dtype=torch.float64) for _ in range(2))
    y = A.A(x)
    other = torch.randn(y.shape, generator=draw, dtype=torch.float64)
    assert A.A_pinv(y).shape == x.shape and y.shape[-1] == -(-size // getattr(A, "factor", 1))
    assert torch.allclose((y * other).sum(), (x * A.A_adjoint(other)).sum())
    assert torch.allclose(A.A(A.A_pinv(y)), y)
    assert torch.allclose((A.A_pinv(y) * z).sum(), (x * A.A_pinv(A.A(z))).sum())


@pytest.mark.parametrize(("size", "channels"), [(30, (8, 16)), (33, (8,))])
@pytest.mark.parametrize("name", ["super_resolution", "super_resolution_x4", "inpaint_box", "denoise_25"])
def test_images_of_odd_sizes_are_restored(name, size, channels):
    model = UNet(size=size, channels=channels)
    denoiser = UNetDenoiser.of(model, Schedule.linear(), NoInjection(), "the test's", "cpu")
    observation = task(name).observe(torch.rand(2, 3, size, size) * 2 - 1, ImageRng([1, 2]))
    x_hat, nfe = restore(denoiser, observation, None, Setting(2), ImageRng([3, 4]))
    assert x_hat.shape == (2, 3, size, size) and bool(x_hat.isfinite().all()) and nfe == 2
    if observation.consistency == "projection":  # of x_hat itself it holds before clipping to [-1, 1] alone
        operator = observation.operator
        assert torch.allclose(operator.A(operator.A_pinv(observation.y)), observation.y, atol=1e-5)


def test_reconstruction_is_marked_as_a_leak():
    assert task("reconstruction").leak == "clean-target"
    assert {n for n in EVERY if tasks()[n].leak != "none"} == {"reconstruction"}


def test_an_unknown_task_lists_all():
    with pytest.raises(InputError, match=r"unknown task 'deblurr'.*inpaint.*super_resolution"):
        task("deblurr")
