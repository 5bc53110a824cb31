"""deepinv's samplers as rivals: they get our network, our degradation and our y, in their units."""

import importlib.util
from pathlib import Path

import pytest
import torch

from dipddpm.denoisers import open_denoiser
from dipddpm.metrics.psnr import Psnr
from dipddpm.rng import ImageRng
from dipddpm.sampling import predicted_x0
from dipddpm.tasks import task

pytest.importorskip("deepinv", reason="needs pip install 'dipddpm[peers]'")


@pytest.fixture(scope="module")
def opponents():
    place = Path(__file__).parent.parent / "bench" / "bench_opponents.py"
    spec = importlib.util.spec_from_file_location(place.stem, place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def denoiser():
    return open_denoiser("unet")


def seen(name, count=1):
    x_0 = 1.6 * torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.8
    return x_0, task(name).observe(x_0, ImageRng(range(count)))


@pytest.mark.parametrize("t", [0, 30, 300, 900])
@pytest.mark.numerics
def test_their_denoiser_is_our_prediction_at_every_level(opponents, denoiser, t):
    abar, network = denoiser.schedule.abar(t), opponents.as_deepinv(denoiser)
    x_t = ImageRng([1, 2]).randn(3, 32, 32)
    ours = predicted_x0(denoiser, x_t, t, None, clip=1.0)
    sigma = ((1 - abar) / abar) ** 0.5 / 2
    with torch.no_grad():
        theirs = network((x_t / abar**0.5 + 1) / 2, sigma)
    # Rounding is that of the noise taken away, whose size is the level: 150 at the last step.
    assert torch.allclose(2 * theirs - 1, ours, atol=1e-4 * (1 + 2 * sigma))
    assert network.evaluations == 1 and network.backward == 0


def test_a_level_below_the_schedule_takes_no_evaluation(opponents, denoiser):
    network, x = opponents.as_deepinv(denoiser), torch.rand(1, 3, 32, 32)
    assert torch.equal(network(x, 0.0), x) and network.evaluations == 0


@pytest.mark.parametrize("name", ["inpaint", "super_resolution", "super_resolution_x4", "denoise_25"])
def test_their_degradation_is_ours(opponents, name):
    x_0, observation = seen(name)
    physics, A = opponents.as_physics(observation, 0.0), observation.operator
    assert torch.allclose(physics.A(x_0), A.A(x_0), atol=1e-6)
    assert torch.allclose(physics.A_adjoint(observation.y), A.A_adjoint(observation.y), atol=1e-6)
    assert torch.allclose(physics.A_dagger(observation.y), observation.pinv, atol=1e-5)
    if name.startswith("super"):
        assert torch.allclose(physics.V(physics.V_adjoint(x_0)), x_0, atol=1e-5), "V must be orthonormal"


@pytest.mark.parametrize("name", ["inpaint", "super_resolution", "denoise_25"])
@pytest.mark.parametrize("opponent", ["DDRM", "DiffPIR", "DPS"])
def test_they_run_and_their_evaluations_are_counted(opponents, denoiser, name, opponent):
    x_0, observation = seen(name, 2)
    setting = opponents.THEIRS[opponent][-1]
    x_hat, nfe, gradients = opponents.theirs(opponent, denoiser, observation, setting, [5, 6], 4)
    again, *_ = opponents.theirs(opponent, denoiser, observation.part(slice(1, 2)), setting, [6], 4)
    assert nfe == 4 and gradients == (4 if opponent == "DPS" else 0)
    assert torch.allclose(x_hat[1:], again, atol=1e-5), "an image must not depend on its company"
    if name == "inpaint":
        assert torch.allclose(observation.operator.A(x_hat), observation.y, atol=1e-6)
    assert Psnr()(x_hat, x_0).min() > 5


def test_both_sides_have_as_many_settings_to_choose_from(opponents):
    assert {len(settings) for settings in [*opponents.OURS.values(), *opponents.THEIRS.values()]} == {6}
    assert all(setting.nfe <= opponents.NFE for settings in opponents.OURS.values() for setting in settings)
