"""The adapters that the examples show: our arms under deepinv's protocol, deepinv's methods under ours."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dipddpm.data import open_dataset, to_float
from dipddpm.errors import InputError
from dipddpm.measure.record import Run
from dipddpm.metrics.psnr import Psnr
from dipddpm.priors import Evidence
from dipddpm.rng import ImageRng
from dipddpm.tasks import task

ROOT = Path(__file__).parent.parent
FILE = ROOT / "examples" / "with-deepinv" / "adapters.py"
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def deepinv():
    return pytest.importorskip("deepinv", reason="needs pip install 'dipddpm[peers]'")


@pytest.fixture(scope="module")
def adapters(deepinv):
    spec = importlib.util.spec_from_file_location("deepinv_adapters", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["deepinv_adapters"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def x_0():
    """(2, 3, 32, 32) in [-1, 1]."""
    return to_float(open_dataset("photo-patches").sample("test", 2))


def inpainting(deepinv, ours, image):
    """Their physics with the mask that ours has for an image."""
    mask = ours.operator.mask[image : image + 1].expand(1, 3, 32, 32)
    return deepinv.physics.Inpainting(img_size=(3, 32, 32), mask=mask)


def test_what_deepinv_measured_is_what_we_would_have_measured(deepinv, adapters, x_0):
    ours = task("inpaint").observe(x_0, ImageRng([0, 1]))
    physics = inpainting(deepinv, ours, 0)
    theirs = adapters.as_observation(physics((x_0[:1] + 1) / 2), physics)
    assert torch.allclose(theirs.y, ours.y[:1], atol=1e-6) and theirs.consistency == "projection"
    assert isinstance(theirs.operator, type(ours.operator))
    other = deepinv.physics.Downsampling(img_size=(3, 32, 32), factor=2, filter="bilinear")
    theirs_too = adapters.as_observation(other((x_0[:1] + 1) / 2), other)
    assert torch.allclose(theirs_too.y, other.A(x_0[:1]), atol=1e-5)
    assert torch.allclose(theirs.consistent(torch.zeros_like(x_0[:1])), ours.part(slice(0, 1)).pinv, atol=1e-6)


def test_noise_is_twice_as_large_in_our_units(deepinv, adapters, x_0):
    physics = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(25 / 255))
    theirs = adapters.as_observation(physics((x_0 + 1) / 2), physics)
    assert theirs.sigma == pytest.approx(task("denoise_25").sigma) and theirs.consistency == "proximal"
    assert (theirs.y - x_0).std().item() == pytest.approx(theirs.sigma, rel=0.05)


def test_what_our_arms_cannot_take_is_refused_in_a_line(deepinv, adapters, x_0):
    images, arm = (x_0 + 1) / 2, adapters.Ours("noise", nfe=1)
    poisson = deepinv.physics.Denoising(deepinv.physics.PoissonNoise(0.1))
    with pytest.raises(InputError, match="PoissonNoise: our arms know white Gaussian noise alone"):
        arm(poisson(images), poisson)
    clean = deepinv.physics.Denoising(deepinv.physics.ZeroNoise())
    with pytest.raises(InputError, match="32 x 30 pixels: our networks take squares"):
        arm(images[..., :30], clean)
    with pytest.raises(InputError, match="arm 'oracle' looks at the picture"):
        adapters.Ours("oracle")(images, clean)


def test_our_arms_are_scored_by_their_protocol(deepinv, adapters, x_0):
    """As ``run_benchmark`` calls it: measured online, without gradients. A longer fit is better, and both are better
    than what was measured; noise and a control are solvers, too."""
    images = (x_0[:1] + 1) / 2
    physics = inpainting(deepinv, task("inpaint_50").observe(x_0, ImageRng([5, 6])), 0)
    loader = torch.utils.data.DataLoader(list(images), batch_size=1)

    def psnr(model):
        scores = deepinv.test(
            model, loader, physics, metrics=[deepinv.metric.PSNR()], online_measurements=True,
            device=getattr(model, "device", "cpu"), compare_no_learning=False, verbose=False, show_progress_bar=False,
        )  # fmt: skip
        return scores["PSNR"]

    class Measured(deepinv.models.Reconstructor):
        def forward(self, y, physics, **_):
            return physics.A_dagger(y)

    small = {"architecture": "deep_decoder", "nfe": 0}
    measured, short = psnr(Measured()), psnr(adapters.Ours("dip", iterations=3, **small))
    longer = psnr(adapters.Ours("dip", iterations=150, **small))
    started = psnr(adapters.Ours("dip", architecture="deep_decoder", iterations=150, nfe=5))
    assert longer > short + 3 and min(longer, started) > measured + 5
    assert (
        psnr(adapters.Ours("noise", nfe=20)) > measured + 3 and psnr(adapters.Ours("biharmonic", nfe=0)) > measured + 5
    )


def test_our_operator_is_a_linear_physics_of_theirs(adapters, x_0):
    for name in ("inpaint", "super_resolution"):
        observation = task(name).observe(x_0, ImageRng([0, 1]))
        physics = adapters.as_physics(observation.operator, (3, 32, 32))
        assert torch.equal(physics(x_0), observation.operator.A(x_0))
        assert abs(physics.adjointness_test(x_0)) < 1e-3
        assert torch.allclose(physics.A_dagger(observation.y), observation.pinv)


@pytest.mark.parametrize("name", ["denoise_25", "inpaint", "super_resolution"])
def test_their_method_is_a_control_of_ours(adapters, x_0, name):
    observed = task(name).observe(x_0, ImageRng([0, 1]))
    prior = adapters.DeepinvTv(0.05)
    mu = prior.mu(Evidence(observed))
    assert prior.applies(observed) and prior in prior.variants()
    assert (Psnr()(mu, x_0) > Psnr()(observed.pinv, x_0) + (1 if name != "super_resolution" else 0)).all()
    assert torch.equal(mu[1:], prior.mu(Evidence(observed.part(slice(1, 2)))))


def test_their_method_runs_in_a_session_of_ours(deepinv, tmp_path):
    """From the folder of the example: its row is tuned, scored and timed like any other."""
    words = [
        "bench",
        "controls",
        "--profile",
        "smoke",
        "--axis",
        "task=denoise_25",
        "--axis",
        "images=2",
        "--axis",
        "trials=1",
        "-k",
        "deepinv",
        "-q",
    ]
    places = ["--results", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "dipddpm", *words, *places], cwd=FILE.parent, env=environment, capture_output=True,
        encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (file,) = (tmp_path / "out").glob("run-*.json")
    records = Run.load(file).records
    assert {record.arm for record in records} == {"deepinv_tv", "deepinv_tv alone"}
    assert {record.role for record in records} == {"control"} and all(record.seconds["prior"] > 0 for record in records)
