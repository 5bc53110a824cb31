"""Out of memory: half the batch goes on, with the same numbers, and nothing that is done is done again."""

import math
import time

import pytest
import torch
from torch import nn

from dipddpm.batches import SmallerBatch
from dipddpm.cli import main
from dipddpm.data import open_dataset
from dipddpm.denoisers.unet import UNetDenoiser
from dipddpm.dip import architecture_class
from dipddpm.errors import InputError
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.fits import Fits
from dipddpm.experiments.generation import Generation
from dipddpm.experiments.profiles import profile
from dipddpm.experiments.restoration import Restoration
from dipddpm.extractors import open_extractor
from dipddpm.extractors.embedded64 import Embedding
from dipddpm.fitting import fit_dip
from dipddpm.generate import generate
from dipddpm.injection import injection
from dipddpm.measure.store import Store
from dipddpm.prior_sets import PriorSettings, make_priors
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule
from dipddpm.tasks import task
from dipddpm.training import Training, TrainingSettings, initial_network
from dipddpm.training_loss import held_out_loss
from dipddpm.unet import UNet

SCHEDULE = Schedule.linear()
SMALL = {"size": 16, "channels": (8, 16), "attention_at": (8,)}
DATA = open_dataset("photo-patches", size=16)
IMAGES = DATA.load("train")[:10]


pytestmark = pytest.mark.usefixtures("limits")


@pytest.fixture(scope="module")
def denoiser():
    """A small one that answers something."""
    model = initial_network(SMALL, 0)
    with torch.no_grad():
        model.head[2].weight.copy_(0.1 * torch.randn(3, 8, 3, 3, generator=torch.Generator().manual_seed(0)))
    return UNetDenoiser.of(model, SCHEDULE, injection("none"), "small", "cpu")


class Memory:
    """Room for ``fits`` images in a network's ``method``; larger batches run out of it, after ``spared`` calls and in
    ``takes`` seconds.

    Attributes:
        went, failed: the sizes of the batches that went through, and of those that ran out of memory.
    """

    def __init__(self, monkeypatch, network, fits, method="forward", spared=0, takes=0.0):
        self.fits, self.spared, self.went, self.failed = fits, spared, [], []
        original = getattr(network, method)

        def limited(module, x, *more):
            if len(x) > self.fits:
                if not self.spared:
                    self.failed.append(len(x))
                    time.sleep(takes)
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
                self.spared -= 1
            else:
                self.went.append(len(x))
            return original(module, x, *more)

        monkeypatch.setattr(network, method, limited)


@pytest.fixture
def short():
    """``with short(UNet, 2) as memory``: a network that is short of memory, which is warned of once."""

    class Short:
        def __init__(self, *memory, **more):
            self.memory, self.more, self.patch = memory, more, pytest.MonkeyPatch()

        def __enter__(self):
            self.caught = pytest.warns(SmallerBatch)
            self.said = self.caught.__enter__()
            return Memory(self.patch, *self.memory, **self.more)

        def __exit__(self, *exception):
            self.patch.undo()
            self.caught.__exit__(*exception)
            if not exception[0]:
                assert len(self.said) == 1 and "\n" not in str(self.said[0].message)

    return Short


# DIP fits

DECODER = architecture_class("deep_decoder")


def restoration(folder, denoiser):
    small = profile("smoke").override(
        ["images=5", "validation_images=3", "dip.architecture=deep_decoder", "dip.iterations=4,8", "trials=2"]
    )
    return Restoration(Fits(small.restoration, DATA, Store(folder).measured), denoiser)


@pytest.mark.numerics
def test_fits_with_their_stopping_rules(tmp_path, short, denoiser):
    expected = restoration(tmp_path / "a", denoiser).fits.fit("inpaint", "deep_decoder")
    with short(DECODER, 2, "layers", spared=3) as memory:  # it fails at the third iteration
        halved = restoration(tmp_path / "b", denoiser).fits.fit("inpaint", "deep_decoder")
    assert memory.failed == [5, 3] and memory.went == [2] * (8 + 5) * 3  # the twin of a lone image makes it two
    # An ulp moves this decoder by 1.3e-6 in 20 iterations, and slices start with no more than that.
    for name in "last", "ema", "loss":
        assert torch.allclose(getattr(halved, name), getattr(expected, name), atol=1e-5)
    assert halved.iterations == expected.iterations and halved.parameters == expected.parameters
    assert halved.stopped.keys() == expected.stopped.keys() == {"es-wmv", "es-emv", "oracle"}
    for rule, (mu, charged) in halved.stopped.items():
        assert torch.allclose(mu, expected.stopped[rule][0], atol=1e-5)
        assert torch.equal(charged, expected.stopped[rule][1])


def test_seconds_of_the_slices_add_up_and_a_failed_attempt_costs_nothing(short, monkeypatch):
    now = [0.0]
    layers = DECODER.layers

    def slow(self, z):
        now[0] += 1
        return layers(self, z)

    monkeypatch.setattr(DECODER, "layers", slow)
    observation = task("inpaint").observe(torch.zeros(4, 3, 16, 16), ImageRng(range(4)))
    with short(DECODER, 2, "layers", spared=2):
        fit = fit_dip(DECODER, observation, ImageRng(range(4)), iterations=[0, 3], size=16, clock=lambda: now[0])
    assert fit.seconds == (0, 6)  # 3 iterations a slice


def test_a_number_of_generators_other_than_that_of_images():
    observation = task("inpaint").observe(torch.zeros(4, 3, 16, 16), ImageRng(range(4)))
    with pytest.raises(InputError, match="5 generators for 4 images"):
        fit_dip(DECODER, observation, ImageRng(range(5)), iterations=[1], size=16)


@pytest.mark.numerics
def test_priors_of_a_set(tmp_path, short):
    settings = PriorSettings("dip", "super_resolution", "deep_decoder", 3)
    expected = make_priors(IMAGES[:6], settings, Store(tmp_path / "a").measured)
    with short(DECODER, 3, "layers"):
        halved = make_priors(IMAGES[:6], settings, Store(tmp_path / "b").measured)
    assert torch.allclose(halved.mu, expected.mu, atol=1e-5) and halved.keys == expected.keys


# samples


@pytest.mark.parametrize(
    "setting",
    [
        Setting(3, eta=1.0),
        Setting(2, injection("start"), 300),
        Setting(4, injection("start"), 300, sampler="ddpm", travel=2),
    ],
    ids=lambda setting: f"{setting.injection.name}-{setting.sampler}",
)
@pytest.mark.parametrize("name", ["inpaint", "denoise_25"])
@pytest.mark.numerics
def test_restoration(short, denoiser, setting, name):
    x_0 = IMAGES[:5].float() / 127.5 - 1
    observation = task(name).observe(x_0, ImageRng(range(5)))
    mu = x_0.flip(0) if setting.injection == injection("start") else None
    rng, other = ImageRng(range(5)), ImageRng(range(5))
    expected, nfe = restore(denoiser, observation, mu, setting, rng)
    with short(UNet, 2, spared=1) as memory:
        halved, counted = restore(denoiser, observation, mu, setting, other)
    assert memory.failed == [5, 3]
    assert sum(memory.went) == 5 * setting.nfe, "an image was sampled twice"
    assert torch.allclose(halved, expected, atol=1e-4) and counted == nfe
    assert torch.equal(rng.randn(2), other.randn(2))


@pytest.mark.numerics
def test_tuning_and_a_cell(tmp_path, short, denoiser):
    arm = Arm.named("noise")  # the controls beside a blur run this network too, and say so for themselves
    expected = restoration(tmp_path / "a", denoiser).cell("super_resolution", arm, 2)
    with short(UNet, 2) as memory:
        halved = restoration(tmp_path / "b", denoiser).cell("super_resolution", arm, 2)
    assert memory.failed[0] >= 3 and set(memory.went) == {1, 2}
    assert halved.setting == expected.setting and halved.nfe == expected.nfe
    assert torch.allclose(halved.x_hat, expected.x_hat, atol=1e-4)
    assert halved.scores["psnr"] == pytest.approx(expected.scores["psnr"], abs=1e-3)
    assert halved.validation == pytest.approx(expected.validation, abs=1e-3)


@pytest.mark.numerics
def test_generation(tmp_path, short, denoiser):
    noise = Setting(2, held=False)
    expected = generate(denoiser, 7, tmp_path / "a", noise, batch=4, progress=False)
    with short(UNet, 1, spared=1) as memory:
        halved = generate(denoiser, 7, tmp_path / "b", noise, batch=4, progress=False)
    assert memory.failed == [4, 2] and memory.went == [1] * 14
    assert (halved.tensor().int() - expected.tensor().int()).abs().max() <= 1
    assert [path.name for path in sorted((tmp_path / "b").glob("images-*"))] == [
        "images-00000000-00000004.safetensors", "images-00000004-00000007.safetensors",
    ]  # fmt: skip


def test_a_sample_is_not_charged_for_the_attempt_that_failed(tmp_path, short, denoiser, limits):
    with short(UNet, 1, takes=1.0):
        halved = generate(denoiser, 2, tmp_path, Setting(1, held=False), progress=False)
    assert limits.lost >= 1 > halved.seconds > 0


@pytest.mark.numerics
def test_populations_from_a_dip(tmp_path, short, denoiser):
    arm = Arm.named("dip", "deep_decoder", 3)

    def priors(folder):
        return Generation(DATA, denoiser, Store(folder).measured, count=4, iterations=[3]).mu(arm)

    expected = priors(tmp_path / "a")
    with short(DECODER, 2, "layers"):
        halved = priors(tmp_path / "b")
    assert (halved.int() - expected.int()).abs().max() <= 1


@pytest.mark.numerics
def test_features(short):
    extractor = open_extractor("embedded64")
    expected = extractor.features(IMAGES, batch=4)
    with short(Embedding, 3) as memory:
        halved = extractor.features(IMAGES, batch=4)
    assert memory.failed == [4] and memory.went == [2] * 5
    assert torch.allclose(halved, expected, atol=1e-5)


def test_a_device_without_room_for_an_image_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    Memory(monkeypatch, UNet, 0)
    assert main(["generate", "--count", "3", "--nfe", "1", "--device", "cpu", "--out", str(tmp_path / "o")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("dipddpm: sampling (UNetDenoiser, 32 px, cpu): out of memory with a single image; ")


# training


def training(batch=6, entry="none"):
    model = initial_network(SMALL, 0, injection(entry).channels)
    return Training(model, SCHEDULE, TrainingSettings(9, batch=batch, lr=1e-3, warmup=1), injection(entry))


@pytest.mark.parametrize("entry", ["none", "concat"])
@pytest.mark.parametrize("fits", [4, 1])
@pytest.mark.numerics
def test_updates(short, entry, fits):
    mu = None if entry == "none" else IMAGES.flip(0).float() / 127.5 - 1
    whole, halved = training(entry=entry), training(entry=entry)
    losses = [whole.update(IMAGES, mu) for _ in range(3)]
    with short(UNet, fits) as memory:
        others = [halved.update(IMAGES, mu) for _ in range(3)]
    assert memory.failed == ([6] if fits == 4 else [6, 3, 2])
    assert memory.went == ([3, 3] * 3 if fits == 4 else [1] * 18)
    assert others == pytest.approx(losses, abs=1e-5)
    same_gradients(whole, halved)


def same_gradients(whole, other):
    pairs = list(zip(whole.model.parameters(), other.model.parameters(), strict=True))
    assert all(torch.allclose(p.grad, q.grad, atol=1e-5) for p, q in pairs)
    # Adam makes whole steps of rounding errors where a gradient is nearly 0: the weights are compared by what they do.
    x, t = torch.randn(2, whole.model.config["in_channels"], 16, 16), torch.tensor([10, 500])
    with torch.no_grad():
        assert torch.allclose(whole.model(x, t), other.model(x, t), atol=1e-3)


@pytest.mark.numerics
def test_uneven_slices_have_their_share_of_the_mean(short):
    whole, halved = training(batch=5), training(batch=5)
    loss = whole.update(IMAGES)
    with short(UNet, 3) as memory:
        assert halved.update(IMAGES) == pytest.approx(loss, abs=1e-5)
    assert memory.went == [3, 2]
    same_gradients(whole, halved)


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.numerics
def test_memory_that_runs_out_in_the_middle_of_the_gradient(limits, at):
    """The parts of it that were there already are no part of the update; those of other slices are."""
    whole, broken = training(), training()
    assert whole.update(IMAGES) == broken.update(IMAGES)  # from here on every parameter has a gradient
    loss, calls = whole.update(IMAGES), []

    def at_the_end_of_backward(stem, given, output):
        def fail(gradient):
            calls.append(len(output))
            if len(calls) == at:
                raise torch.OutOfMemoryError

        if output.requires_grad:
            output.register_hook(fail)

    broken.model.stem.register_forward_hook(at_the_end_of_backward)
    if at == 2:
        limits.sizes = LearntSizes(3)
    with pytest.warns(SmallerBatch):
        assert broken.update(IMAGES) == pytest.approx(loss, abs=1e-5)
    assert calls == ([6, 3, 3] if at == 1 else [3, 3, 2, 1])
    same_gradients(whole, broken)


class LearntSizes(dict):
    """So many images fit, whatever the stage."""

    def __init__(self, size):
        self.size = size

    def get(self, stage, default=None):
        return self.size


def test_an_update_without_a_shortage_is_one_pass_over_the_whole_batch(monkeypatch):
    memory, one = Memory(monkeypatch, UNet, math.inf), training()
    one.update(IMAGES)
    assert memory.went == [6]


@pytest.mark.numerics
def test_held_out_loss(short):
    model = training().model
    nn.init.normal_(model.head[2].weight)
    expected = held_out_loss(model, SCHEDULE, IMAGES, torch.device("cpu"))
    with short(UNet, 4) as memory:
        halved = held_out_loss(model, SCHEDULE, IMAGES, torch.device("cpu"))
    assert sum(memory.went) == 5 * len(IMAGES)
    assert halved == pytest.approx(expected, rel=1e-5)
