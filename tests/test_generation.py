"""Populations: the same whatever the batch and however often interrupted; priors matter, and are what they say."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from dipddpm import fitting
from dipddpm.cli import main
from dipddpm.data import open_dataset, to_float
from dipddpm.denoisers import open_denoiser
from dipddpm.denoisers.unet import UNetDenoiser
from dipddpm.errors import InputError
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.generation import Generation
from dipddpm.experiments.generation_arms import generation_arms, generation_cells
from dipddpm.experiments.profiles import profile
from dipddpm.generate import GeneratedImages, generate, sample_images
from dipddpm.injection import injection
from dipddpm.injection.none import NoInjection
from dipddpm.measure.files import is_partial, write_atomically
from dipddpm.measure.store import Store
from dipddpm.restore import Setting
from dipddpm.rng import ImageRng, image_keys, seed_for
from dipddpm.schedule import Schedule
from dipddpm.unet import UNet

NOISE = Setting(2, held=False)
START = Setting(2, injection("start"), 300, held=False)
DIP = Arm.named("dip", "deep_decoder", 4)


@pytest.fixture(scope="module")
def denoiser():
    return open_denoiser("unet")


@pytest.fixture(scope="module")
def photographs():
    return to_float(open_dataset("photo-patches").sample("train", 24))


def run(denoiser, folder, count=10, setting=NOISE, **options):
    return generate(denoiser, count, folder, setting, progress=False, **options)


def assert_same(images, others):
    """Rounding differs with the batch size, and moves a pixel by a level at most."""
    assert (images.tensor().int() - others.tensor().int()).abs().max() <= 1
    assert len(images) == len(others)


@pytest.mark.parametrize("setting", [NOISE, dataclasses.replace(NOISE, eta=1.0), dataclasses.replace(START, travel=2)])
@pytest.mark.numerics
def test_the_batch_size_changes_nothing(denoiser, photographs, tmp_path, setting):
    given = {"mu": lambda i: photographs[i.start : i.stop], "prior": "p"} if setting.injection.uses_mu else {}
    three, seven = (run(denoiser, tmp_path / str(b), setting=setting, batch=b, **given) for b in (3, 7))
    assert_same(three, seven)
    assert three.nfe == seven.nfe == setting.nfe
    assert len({image.numpy().tobytes() for image in three}) == 10


def test_every_image_draws_from_its_own_generator(monkeypatch):
    drawn = {}

    class Zero:
        """Predicts no noise, so that what is drawn is all that is seen."""

        schedule, size, clip, injection = open_denoiser("unet").schedule, 8, 0.0, NoInjection()

        def eps(self, x_t, t):
            drawn.setdefault(len(x_t), []).append(x_t)
            return torch.zeros_like(x_t)

    sample_images(Zero(), range(4), Setting(1), seed=5)
    sample_images(Zero(), range(2, 4), Setting(1), seed=5)
    expected = ImageRng([seed_for(5, "generate", i) for i in range(4)]).randn(3, 8, 8)
    assert torch.equal(drawn[4][0], expected) and torch.equal(drawn[2][0], expected[2:])


def test_a_start_is_the_noised_prior(denoiser, photographs):
    seen = []

    class Watched:
        schedule, size, clip, injection = denoiser.schedule, denoiser.size, denoiser.clip, NoInjection()

        def eps(self, x_t, t):
            seen.append((x_t, t))
            return denoiser.eps(x_t, t)

    sample_images(Watched(), range(3), START, photographs[:3], seed=1)
    eps = ImageRng([seed_for(1, "generate", i) for i in range(3)]).randn(3, 32, 32)
    abar = denoiser.schedule.abar(300)
    torch.testing.assert_close(seen[0][0], abar**0.5 * photographs[:3] + (1 - abar) ** 0.5 * eps)
    assert [t for _, t in seen] == denoiser.schedule.steps(2, 300)


def test_workers_share_a_folder(denoiser, tmp_path):
    whole = run(denoiser, tmp_path / "whole", batch=4)
    owed = run(denoiser, tmp_path / "shared", batch=4, worker=(1, 2))
    assert len(owed) == 0 and owed.written == 4  # the first shard is another worker's
    assert run(denoiser, tmp_path / "shared", batch=4, worker=(0, 2)).written == 6
    assert run(denoiser, tmp_path / "shared", batch=4).written == 0
    assert_same(whole, GeneratedImages(tmp_path / "shared", 10))


def test_more_images_reuse_those_that_are_there(denoiser, tmp_path):
    ten = run(denoiser, tmp_path / "a", batch=7)
    before = {path: path.read_bytes() for path in (tmp_path / "a").glob("images-*")}
    twenty = run(denoiser, tmp_path / "a", 20, batch=5)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert torch.equal(twenty.tensor(range(10)), ten.tensor())
    assert_same(twenty, run(denoiser, tmp_path / "b", 20, batch=20))
    assert len(run(denoiser, tmp_path / "a", 10)) == 10


def test_a_damaged_shard_is_made_again_and_seconds_add_up(denoiser, tmp_path):
    ticks = iter(range(100))
    images = run(denoiser, tmp_path, batch=4, clock=lambda: next(ticks))
    assert images.seconds == 3  # one each of three batches
    before = images.tensor()
    shard = sorted(tmp_path.glob("images-*"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(InputError, match="holds 4 of 10 images: run `dipddpm generate` on it again"):
        GeneratedImages(tmp_path, 10)
    again = run(denoiser, tmp_path, batch=4, clock=lambda: next(ticks))
    assert torch.equal(again.tensor(), before) and again.seconds == 3


def test_a_killed_run_goes_on(tmp_path, denoiser):
    folder, options = tmp_path / "killed", ["--nfe", "5", "--batch", "2", "--count", "16"]
    command = [sys.executable, "-m", "dipddpm", "generate", "--device", "cpu", "--out", str(folder), *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    while process.poll() is None and len(list(folder.glob("images-*.safetensors"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = {path: path.stat().st_mtime_ns for path in folder.glob("images-*.safetensors")}
    assert 2 <= len(left) < 8
    setting = Setting(5, held=False)
    resumed = run(denoiser, folder, 16, setting, batch=2)
    assert all(path.stat().st_mtime_ns == at for path, at in left.items()), "made again what was there"
    assert_same(resumed, run(denoiser, tmp_path / "whole", 16, setting, batch=2))
    assert all(path.name.startswith(("images-", "manifest.")) for path in folder.iterdir()), "a part was left"


def test_parts_that_a_kill_left_are_no_images_and_go(denoiser, tmp_path):
    part = tmp_path / ".images-00000000-00000008.x1y2z3w4.partial.safetensors"

    def write(path):
        path.replace(part)  # as a kill would leave it, before it has its name
        part.write_bytes(b"cut sh")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "images-00000000-00000008.safetensors", write)
    assert is_partial(part)
    assert len(run(denoiser, tmp_path, 4, batch=4, worker=(0, 2))) == 4 and part.exists(), "it may be another worker's"
    assert len(run(denoiser, tmp_path, 4)) == 4 and not part.exists()


def test_a_folder_is_of_one_configuration(denoiser, photographs, tmp_path):
    run(denoiser, tmp_path / "a", 2)
    for options in ({"setting": Setting(3, held=False)}, {"seed": 1}, {"setting": START, "mu": id, "prior": "other"}):
        with pytest.raises(InputError, match=r"another configuration: .*(nfe 2, not 3|seed 0, not 1|prior '', not)"):
            run(denoiser, tmp_path / "a", 2, **options)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"b holds thesis\.tex: images go into a folder of their own"):
        run(denoiser, tmp_path / "b")
    with pytest.raises(InputError, match=r"no manifest\.json"):
        GeneratedImages(tmp_path / "b")
    (tmp_path / "a" / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json is damaged"):
        GeneratedImages(tmp_path / "a")


def test_a_refused_setting_leaves_the_folder_free(denoiser, tmp_path):
    with pytest.raises(InputError, match="2000 steps do not fit"):
        run(denoiser, tmp_path, setting=Setting(2000))
    assert len(run(denoiser, tmp_path, 2)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"setting": START}, "'start' at 2 evaluations takes a prior"),
        ({"setting": START, "mu": id}, "takes a prior .*got none"),
        ({"mu": id, "prior": "p"}, "'none' at 2 evaluations takes no prior"),
        ({"setting": Setting(0)}, "'none' at 0 evaluations takes a prior"),
        ({"setting": Setting(2, injection("start")), "mu": id, "prior": "p"}, "needs t0"),
        ({"setting": Setting(2, injection("start"), 1000), "mu": id, "prior": "p"}, "t0 must be one of the 1000 steps"),
        (
            {"setting": Setting(9, injection("start"), 7), "mu": id, "prior": "p"},
            "9 steps do not fit below t0=7: choose 1..8",
        ),
        ({"setting": Setting(-1)}, "-1 steps do not fit"),
        ({"count": 0}, "a count and a batch from 1"),
        ({"worker": (2, 2)}, "worker i of n"),
    ],
)
def test_what_does_not_go_together(denoiser, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run(denoiser, tmp_path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eta": 7.0}, "eta goes from 0 .deterministic. to 1 .ancestral., got 7"),
        ({"eta": -0.1}, "got -0.1"),
        ({"eta": float("nan")}, "got nan"),
        ({"eta": 0.5, "sampler": "ddpm"}, "eta 0.5 is for the samplers ddim, renoise, daps: ddpm takes none"),
        ({"eta": 1.0, "sampler": "dpmpp_2m"}, "eta 1 is for the samplers ddim, renoise, daps: dpmpp_2m takes none"),
    ],
)
def test_an_eta_that_no_sampler_has(options, message):
    with pytest.raises(InputError, match=message):
        Setting(2, **options)


def test_a_short_schedule_has_populations_of_its_own(photographs, cache, monkeypatch):
    short = UNetDenoiser.of(UNet(channels=(8, 16)), Schedule.linear(100), NoInjection(), "short", "cpu")
    cells = generation_cells(profile("full").override(["generation.t0=60,99,100,450"]).generation, T=100)
    assert {t0 for _, _, t0 in cells} == {None, 60, 99} and max(nfe for _, nfe, _ in cells) == 100
    full = profile("full").generation
    assert {t0 for _, _, t0 in generation_cells(full)} == {None, *full.t0s}
    images, nfe = sample_images(short, range(2), Setting(2, injection("start"), 99), photographs[:2])
    assert len(images) == 2 and nfe == 2
    with pytest.raises(InputError, match=r"t0 must be one of the 100 steps 0\.\.99 of the schedule, got 100"):
        sample_images(short, range(2), Setting(2, injection("start"), 100), photographs[:2])
    monkeypatch.setattr(fitting, "fit_dip", None)  # called, it would fail
    generation = make(short, cache / "short")
    with pytest.raises(InputError, match="t0 must be one of the 100 steps"):
        generation.sample(DIP, generation.setting(DIP, 2, 450))
    with pytest.raises(InputError, match="101 steps do not fit below t0=99"):
        generation.sample(Arm.named("noise"), generation.setting(Arm.named("noise"), 101))


def test_reading_back_as_a_dataset(denoiser, tmp_path):
    images = run(denoiser, tmp_path, batch=4)
    assert images[9].dtype == torch.uint8 and images[9].shape == (3, 32, 32)
    batches = torch.cat(list(DataLoader(images, batch_size=3)))
    assert torch.equal(batches, images.tensor()) and torch.equal(images.tensor(range(2, 6)), batches[2:6])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def make(denoiser, cache, count=6, **options):
    options = {"iterations": [2, 4], "batch": 4} | options
    return Generation(open_dataset("photo-patches"), denoiser, Store(cache).measured, count=count, **options)


@pytest.fixture(scope="module")
def generation(denoiser, cache):
    return make(denoiser, cache)


def test_every_arm_makes_a_population_and_pays_for_it(generation):
    arms = generation_arms(["deep_decoder"], [2, 4])
    assert [arm.label for arm in arms] == [
        "noise", "blur", "mean_colour", "dip deep_decoder 2", "dip deep_decoder 4", "shuffled deep_decoder 4",
        "untrained deep_decoder", "oracle",
    ]  # fmt: skip
    populations = {}
    for arm in arms:
        made = generation.sample(arm, generation.setting(arm, 2, 300))
        assert made.images.shape == (6, 3, 32, 32) and made.images.dtype == torch.uint8 and made.nfe == 2
        assert set(made.seconds) == ({"diffusion", "dip"} if arm.prior.uses_dip else {"diffusion"})
        populations[arm.label] = made.images
    assert len({images.numpy().tobytes() for images in populations.values()}) == len(arms), "two arms, one population"
    assert {arm.label for arm in arms if arm.leak != "none"} == {"oracle"}


def test_priors_are_what_they_say(generation):
    photographs = generation.images("train")
    assert torch.equal(generation.mu(Arm.named("oracle")), photographs)
    assert generation.mu(Arm.named("noise")) is None
    colour = to_float(generation.mu(Arm.named("mean_colour")))
    torch.testing.assert_close(colour.mean((2, 3)), to_float(photographs).mean((2, 3)), atol=0.01, rtol=0)
    assert colour.std((2, 3)).max() < 1e-6
    blur, fitted = (to_float(generation.mu(arm)) for arm in (Arm.named("blur"), DIP))
    assert (blur - to_float(photographs)).square().mean() < (colour - to_float(photographs)).square().mean()
    shuffled = to_float(generation.mu(Arm.named("shuffled", "deep_decoder", 4)))
    assert torch.equal(shuffled[1:4], fitted[:3]) and torch.equal(shuffled[0], fitted[3])  # within its batch
    assert torch.equal(generation.mu(DIP, range(5, 9)), generation.mu(DIP)[[5, 0, 1, 2]])  # begins again
    with pytest.raises(InputError, match="'bicubic' makes nothing of a whole photograph"):
        generation.mu(Arm.named("bicubic"))


def test_no_evaluations_are_the_priors_and_draws_differ(generation):
    assert torch.equal(generation.sample(DIP, generation.setting(DIP, 0)).images, generation.mu(DIP))
    setting = generation.setting(DIP, 2, 300)
    first, second = (generation.sample(DIP, setting, draw=draw, count=3).images for draw in (0, 1))
    assert len(first) == 3 and not torch.equal(first, second)
    assert (first.int() - generation.sample(DIP, setting).images[:3].int()).abs().max() <= 1


def test_what_was_computed_is_found_again(denoiser, cache, generation, monkeypatch):
    setting = generation.setting(DIP, 2, 300)
    images = generation.sample(DIP, setting).images
    monkeypatch.setattr(fitting, "fit_dip", None)  # called, it would fail
    assert torch.equal(make(denoiser, cache).sample(DIP, setting, run=None).images, images)
    larger = make(denoiser, cache, 8)
    assert torch.equal(larger.mu(DIP, range(4)), generation.mu(DIP)[:4])
    with pytest.raises(TypeError):
        larger.mu(DIP)


def test_the_reference_is_of_photographs_that_no_prior_saw(denoiser, cache, generation):
    reference = generation.reference(20)
    dataset = open_dataset("photo-patches")
    cut_from = dict(zip(image_keys(dataset.load("train")), dataset.photographs("train"), strict=True))
    seen, others = ([cut_from[key] for key in image_keys(images)] for images in (generation.images("train"), reference))
    assert not set(seen) & set(others) and len(set(others)) == 2
    assert generation.photographs(20) == (seen, others)
    assert torch.equal(make(denoiser, cache, 10).reference(20), reference)
    assert len(generation.reference()) == sum(name not in seen for name in dataset.photographs("train"))
    with pytest.raises(InputError, match="the 6 images that priors are made of are of 1 of its 3 training photographs"):
        generation.reference(100_000)
    with pytest.raises(InputError, match=r"no reference of any images.*are of 3 of its 3 .* have 0 images"):
        make(denoiser, cache, None).reference()


def test_where_every_image_is_a_photograph_priors_and_reference_are_the_ends_of_one_shuffle(denoiser, cache, tmp_path):
    for i in range(40):
        pixels = torch.randint(256, (32, 32, 3), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
        (tmp_path / "train").mkdir(exist_ok=True)
        Image.fromarray(pixels.numpy()).save(tmp_path / "train" / f"{i}.png")
    (tmp_path / "test").mkdir()
    dataset = open_dataset(f"folder:{tmp_path}")
    count = len(dataset.load("train"))
    whole = dataset.sample("train", count)
    for n in (6, 10):
        made = Generation(dataset, denoiser, Store(cache).measured, count=n)
        assert torch.equal(made.images("train"), whole[:n]) and torch.equal(made.reference(8), whole[-8:])
        assert torch.equal(made.reference(), whole[n:])


def test_a_population_in_a_folder_is_the_one_in_memory(generation, tmp_path):
    setting = generation.setting(DIP, 2, 300)
    images = generation.stream(DIP, setting, tmp_path, 8, batch=3)
    assert len(images) == 8
    assert (images.tensor(range(6)).int() - generation.sample(DIP, setting).images.int()).abs().max() <= 1
    assert images.config["prior"].startswith("dip deep_decoder 4 of 6 of photo-patches, ")
    with pytest.raises(InputError, match=r"prior 'dip deep_decoder 4.*, not 'blur of"):
        generation.stream(Arm.named("blur"), setting, tmp_path, 8)


def test_faults_of_a_generation(denoiser, cache, generation):
    with pytest.raises(InputError, match="at least 2 images, got 1"):
        make(denoiser, cache, 1)
    with pytest.raises(InputError, match=r"dip deep_decoder 3: fits are kept at 0, 2, 4 iterations"):
        generation.mu(Arm.named("dip", "deep_decoder", 3))
    with pytest.raises(InputError, match="photographs of 16 px for a denoiser of 32 px"):
        Generation(open_dataset("photo-patches", size=16), denoiser, Store(cache).measured)


def test_the_command_line(tmp_path, capsys):
    common = ["generate", "--device", "cpu", "--nfe", "2", "--count", "4"]
    assert main([*common, "--out", str(tmp_path / "a")]) == 0
    assert "holds 4 images, 2 evaluations and" in capsys.readouterr().out
    prior = ["--prior-from", "photo-patches", "--t0", "300", "--cache", str(tmp_path / "cache"), "--prior", "blur"]
    for count in ("4", "6"):
        assert main([*common, *prior, "--out", str(tmp_path / "b"), "--count", count]) == 0
    assert json.loads((tmp_path / "b" / "manifest.json").read_text(encoding="utf-8"))["config"]["t0"] == 300
    assert not torch.equal(GeneratedImages(tmp_path / "a").tensor(), GeneratedImages(tmp_path / "b", 4).tensor())
    for wrong, message in (
        (["--t0", "5"], "--t0 and --nfe 0 need a prior"),
        ([*prior, "--prior", "nope"], "unknown prior 'nope'"),
        (["--nfe", "3", "--out", str(tmp_path / "a")], "nfe 2, not 3"),
        (["--eta", "7"], "eta goes from 0 (deterministic) to 1 (ancestral), got 7"),
        (["--eta", "0.5", "--sampler", "ddpm"], "eta 0.5 is for the samplers ddim, renoise, daps: ddpm takes none"),
        ([*prior, "--prior", "dip", "--t0", "1000"], "t0 must be one of the 1000 steps 0..999 of the schedule"),
    ):
        assert main([*common, "--out", str(tmp_path / "c"), *wrong]) == 2
        assert message in capsys.readouterr().err
    worker = [*common, "--batch", "1", "--out", str(tmp_path / "w"), "--worker"]
    capsys.readouterr()
    for i, wrote in (("1/2", 2), ("1/2", 0)):
        assert main([*worker, i]) == 0
        said = f"{tmp_path / 'w'}: worker 1/2 wrote {wrote} images, its share of the 4 is there"
        assert capsys.readouterr().out.strip() == said
    with pytest.raises(SystemExit):
        main([*common, "--out", str(tmp_path), "--worker", "5"])
    assert "write I/N, such as 0/4" in capsys.readouterr().err
