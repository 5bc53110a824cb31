"""The same numbers on a GPU: draws are made on the CPU, so only the rounding differs."""

import pytest
import torch

from dipddpm.data import open_dataset
from dipddpm.denoisers import open_denoiser
from dipddpm.dip import architectures
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.fits import Fits
from dipddpm.experiments.profiles import profile
from dipddpm.experiments.restoration import Restoration
from dipddpm.fitting import fit_dip
from dipddpm.measure.instruments.timer import synchronised
from dipddpm.measure.store import Store
from dipddpm.rng import ImageRng
from dipddpm.tasks import task

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


@pytest.mark.parametrize("name", sorted(architectures()))
def test_a_fit_begins_alike(name):
    """A few iterations: rounding grows along a trajectory, on any two machines."""
    x_0 = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    fits = []
    for device in ("cpu", "cuda"):
        observation = task("inpaint").observe(x_0, ImageRng(range(3))).to(device)
        fits.append(fit_dip(architectures()[name], observation, ImageRng(range(3), device), iterations=[0, 2]))
    assert fits[1].last.device.type == "cuda"
    assert torch.allclose(fits[0].last[0], fits[1].last[0].cpu(), atol=1e-4)
    assert torch.allclose(fits[0].last[1], fits[1].last[1].cpu(), atol=2e-2)


def test_samples_and_scores_agree(tmp_path):
    scores = []
    for device in ("cpu", "cuda"):
        denoiser = open_denoiser("unet", device)
        small = profile("smoke").override(["images=2", "validation_images=2", "trials=1"])
        memo = Store(tmp_path / device, device).measured
        fits = Fits(small.restoration, open_dataset("photo-patches"), memo, device=device, clock=synchronised)
        scores.append(Restoration(fits, denoiser).cell("super_resolution", Arm.named("noise"), 5).scores["psnr"])
    assert scores[0] == pytest.approx(scores[1], abs=0.2)
