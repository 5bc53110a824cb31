"""The mean of several samples: which they are, that they are independent of company and number, what they cost."""

import pytest
import torch

from dipddpm.batches import SmallerBatch
from dipddpm.denoisers import open_denoiser
from dipddpm.errors import InputError
from dipddpm.injection import injection
from dipddpm.restore import Setting, mean_of, restore, restore_samples
from dipddpm.rng import ImageRng
from dipddpm.sampling import sample_ddim
from dipddpm.schedule import Schedule
from dipddpm.session.records import describe
from dipddpm.tasks import task
from dipddpm.unet import UNet

SEEDS = [11, 12, 13]


@pytest.fixture(scope="module")
def denoiser():
    return open_denoiser("unet")


@pytest.fixture(params=["inpaint", "super_resolution", "denoise_25"])
def seen(request):
    """An observation of three images, and a prior for them."""
    x_0 = 1.6 * torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.8
    return task(request.param).observe(x_0, ImageRng(SEEDS)), 0.5 * x_0.flip(-1)


START = {"injection": injection("start"), "t0": 300}


def test_one_sample_is_the_plain_sampler_bit_for_bit(denoiser, seen):
    observation, _ = seen
    setting, schedule = Setting(4, eta=1.0, travel=2), denoiser.schedule
    ours, nfe = restore(denoiser, observation, None, setting, ImageRng(SEEDS))
    rng = ImageRng(SEEDS)
    plain = sample_ddim(
        denoiser, rng.randn(3, 32, 32), schedule.steps(2), rng, eta=1.0, travel=2,
        refine=lambda x_0, t: observation.refine(x_0, schedule.snr(t)),
    )  # fmt: skip
    assert torch.equal(ours, observation.consistent(plain).clamp(-1, 1)) and nfe == 4


@pytest.mark.parametrize("entry", [{}, START], ids=["noise", "start"])
def test_the_first_sample_has_the_generators_of_a_lone_one_bit_for_bit(denoiser, entry, monkeypatch):
    states = []
    monkeypatch.setattr(type(denoiser), "eps", lambda self, x_t, t: states.append(x_t) or torch.zeros_like(x_t))
    observation, mu = task("inpaint").observe(torch.zeros(3, 3, 32, 32), ImageRng(SEEDS)), torch.zeros(3, 3, 32, 32)
    rngs = [ImageRng(SEEDS), ImageRng(SEEDS)]
    # The spied network has no rounding: what a state holds is what was drawn.
    for samples, rng in zip((1, 4), rngs, strict=True):
        setting = Setting(3 * samples, eta=1.0, samples=samples, **entry)
        restore(denoiser, observation, mu, setting, rng)
    assert [len(x_t) for x_t in states] == [3, 3, 3, 12, 12, 12]
    for lone, many in zip(states[:3], states[3:], strict=True):
        assert torch.equal(lone, many[:3])
        assert all((many[a] - many[b]).abs().max() > 0.1 for a in range(12) for b in range(a))
    assert torch.equal(rngs[0].randn(5), rngs[1].randn(5)), "what follows must not depend on the number of samples"


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmpp_2m", "renoise", "daps"])
@pytest.mark.numerics
def test_a_sample_depends_on_neither_number_nor_company(denoiser, seen, sampler):
    observation, mu = seen
    eta = 1.0 if sampler in ("ddim", "renoise", "daps") else 0.0

    def samples(count, images=slice(None)):
        setting = Setting(3 * count, sampler=sampler, eta=eta, samples=count, **START)
        rng = ImageRng(SEEDS[images])
        return restore_samples(denoiser, observation.part(images), mu[images], setting, rng)[0]

    four = samples(4)
    assert four.shape == (4, 3, 3, 32, 32)
    assert torch.allclose(samples(2), four[:2], atol=1e-4)
    assert torch.allclose(samples(4, slice(1, 2))[:, 0], four[:, 1], atol=1e-4)
    differences = [(four[a] - four[b]).abs().max() for a in range(4) for b in range(a)]
    assert min(differences) > 0.01, "samples must differ"


@pytest.mark.numerics
def test_the_answer_is_their_mean_and_every_evaluation_is_counted(denoiser, seen):
    observation, mu = seen
    setting = Setting(12, eta=0.85, travel=2, samples=3, **START)
    samples, nfe = restore_samples(denoiser, observation, mu, setting, ImageRng(SEEDS))
    x_hat, again = restore(denoiser, observation, mu, setting, ImageRng(SEEDS))
    assert nfe == again == 12
    assert torch.allclose(x_hat, observation.consistent(samples.mean(0)).clamp(-1, 1), atol=1e-6)
    if observation.consistency == "projection":
        assert torch.allclose(observation.operator.A(x_hat.clamp(-1, 1)), observation.y, atol=1e-5)


def test_one_execution_has_the_means_of_fewer(denoiser, seen):
    """What tuning looks at: after 1, 2 and 4 samples, none of which is computed twice."""
    observation, mu = seen
    samples, _ = restore_samples(denoiser, observation, mu, Setting(8, samples=4, **START), ImageRng(SEEDS))
    for count in (1, 2, 4):
        fewer, _ = restore(denoiser, observation, mu, Setting(2 * count, samples=count, **START), ImageRng(SEEDS))
        assert torch.allclose(mean_of(samples[:count], observation), fewer, atol=1e-4)


@pytest.mark.numerics
def test_halving_changes_nothing_but_rounding(denoiser, seen, limits, monkeypatch):
    observation, mu = seen
    setting, rng, other = Setting(8, eta=1.0, samples=4, **START), ImageRng(SEEDS), ImageRng(SEEDS)
    expected, nfe = restore(denoiser, observation, mu, setting, rng)
    forward, went = UNet.forward, []

    def limited(module, x, *more):
        if len(x) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        went.append(len(x))
        return forward(module, x, *more)

    monkeypatch.setattr(UNet, "forward", limited)
    with pytest.warns(SmallerBatch, match="out of memory with 12 images at once, goes on with 3"):
        halved, counted = restore(denoiser, observation, mu, setting, other)
    assert sum(went) == 12 * 2 and counted == nfe == 8
    assert list(limits.sizes.values()) == [3]
    assert torch.allclose(halved, expected, atol=1e-4)
    assert torch.equal(rng.randn(2), other.randn(2))


def test_averaging_lowers_the_error(denoiser):
    """A sample's own deviation from the posterior mean falls with their number; of this image, by 1 dB and more."""
    from dipddpm.data import open_dataset, to_float
    from dipddpm.metrics.psnr import Psnr

    x_0 = to_float(open_dataset("photo-patches").sample("test", 4))
    observation = task("inpaint").observe(x_0, ImageRng(range(4)))
    setting = Setting(80, eta=1.0, samples=4)
    samples, _ = restore_samples(denoiser, observation, None, setting, ImageRng(range(4)))
    one, four = (Psnr()(mean_of(samples[:count], observation), x_0).mean() for count in (1, 4))
    assert four > one + 1


def test_the_setting_names_its_samples_and_refuses_what_cannot_be_shared_out():
    assert Setting(12, samples=3).axes()["samples"] == 3
    assert Setting(12, samples=3, travel=2).steps(Schedule.linear(), 99) == [99, 49]
    with pytest.raises(InputError, match="20 evaluations cannot be shared out over 4 samples of 2 passes"):
        Setting(20, samples=4, travel=2)
    with pytest.raises(InputError, match="samples must be at least 1, got 0"):
        Setting(20, samples=0)
    with pytest.raises(InputError, match="travel must be at least 1, got 0"):
        Setting(20, travel=0)
    with pytest.raises(InputError, match="unknown sampler 'dadps': choose from ddpm, ddim, dpmpp_2m, renoise, daps"):
        Setting(20, sampler="dadps")
    with pytest.raises(InputError, match="eta 1 is for the samplers ddim, renoise, daps: ddpm takes none"):
        Setting(20, sampler="ddpm", eta=1.0)
    with pytest.raises(
        InputError, match="renoise adds noise of eta times the level at every step: eta must be above 0"
    ):
        Setting(20, sampler="renoise")
    Setting(40, samples=4, **START).check(Schedule.linear())
    with pytest.raises(InputError, match="10 steps do not fit below t0=5"):
        Setting(40, injection("start"), 5, samples=4).check(Schedule.linear())


def test_generators_of_samples():
    rng = ImageRng([3, 4])
    many = rng.of_samples(3)
    assert len(many) == 6 and many.seeds[:2] == [3, 4] and len(set(many.seeds)) == 6
    assert ImageRng([4]).of_samples(3).seeds == many.seeds[1::2]
    assert ImageRng([3, 4]).of_samples(2).seeds == many.seeds[:4]
    first = many.randn(2)
    assert torch.equal(first[:2], ImageRng([3, 4]).randn(2))
    assert not torch.equal(many.randn(2)[:2], first[:2])
    rng.go_on_from(many)
    assert torch.equal(rng.randn(2), many.randn(2)[:2])


def test_a_table_says_how_many_samples_were_averaged():
    assert describe(Setting(40, sampler="daps", eta=0.5, samples=4)) == "daps eta 0.5, mean of 4"
    assert describe(Setting(40, eta=1.0, travel=5)) == "ddim eta 1 x5"
