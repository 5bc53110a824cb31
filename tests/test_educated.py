"""The way 'educated' and its training: what ships is what it says, and a fit of 0 iterations is the network."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
import torch
from numerics import assert_same_bits
from safetensors.torch import load_file, save_file
from test_warm_start import Colours, Killed, read

from dipddpm import supervised
from dipddpm.cli import main
from dipddpm.data import open_dataset
from dipddpm.dip import DeepImagePrior, parameter_count
from dipddpm.dip.deep_decoder import DeepDecoder
from dipddpm.dip.skip import SkipNet
from dipddpm.errors import InputError
from dipddpm.fitting import fit_dip, fitting_method
from dipddpm.fitting.educated import SHIPPED, WIDTH, Educated, FixedInput, Pretrained
from dipddpm.measure.content import describe_call
from dipddpm.metrics.psnr import Psnr
from dipddpm.prior_sets import observe
from dipddpm.rng import ImageRng
from dipddpm.supervised import honest_tasks
from dipddpm.train_educated import EducatedSettings, psnr, squared_error, train_educated
from dipddpm.warm_start import smooth_estimate

SEEDS = [11, 22, 33]


@pytest.fixture(scope="module")
def validation():
    """Crops of the validation photographs, which no network was trained on."""
    return open_dataset("photo-patches").sample("validation", 24)


def shipped() -> Pretrained:
    network = Pretrained(32, WIDTH)
    network.load_state_dict({name: weight.float() for name, weight in load_file(SHIPPED).items()})
    return network.requires_grad_(False)


def fit(observation, iterations=(0,), kind: type[DeepImagePrior] = SkipNet, width=WIDTH, size=32, way=None):
    rng = ImageRng(SEEDS[: len(observation.y)])
    method = way or Educated()
    return fit_dip(kind, observation, rng, iterations=iterations, size=size, width=width, method=method)


# ---- What it begins with -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [1, 3])
def test_a_fit_of_no_iterations_is_the_pretrained_network_of_each_image(images, validation):
    observation, network = observe(validation[:images], "inpaint", 0, "cpu"), shipped()
    (found,), shown = fit(observation).last, smooth_estimate(observation)
    for i in range(images):
        torch.testing.assert_close(found[i : i + 1], network(shown[i : i + 1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(found, network(shown), atol=1e-4, rtol=0)


def test_in_training_an_image_is_normalised_by_itself_as_by_a_batch_norm_alone():
    torch.manual_seed(0)
    network, alone = Pretrained(16, 8), SkipNet(16, 8)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    alone.load_state_dict(network.network.state_dict(), strict=False)
    x = torch.randn(3, 3, 16, 16)
    together = network(x)
    for i in range(3):
        torch.testing.assert_close(alone(network.input(x[i : i + 1])), together[i : i + 1], atol=1e-5, rtol=1e-4)


def test_the_input_is_affine_and_shows_the_mean_and_the_contrast():
    torch.manual_seed(0)
    P, x = FixedInput(8, 16), torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(P(3 * x) - P(0 * x), 3 * (P(x) - P(0 * x)))

    def seen(image):
        """What a norm leaves of it."""
        z = P(image)
        return (z - z.mean((2, 3), keepdim=True)) / z.std((2, 3), keepdim=True)

    for other in (x + 0.5, 2 * x):
        changed = (seen(other) - seen(x)).abs().amax((0, 2, 3))
        assert (changed[:4] < 1e-4).all() and (changed[4:] > 0.05).all()


def test_a_fit_goes_on_from_there_and_trains_every_weight(validation):
    observation = observe(validation[:2], "inpaint", 0, "cpu")
    fitted = fit(observation, [0, 10])
    assert (fitted.loss[1] < fitted.loss[0]).all()
    assert fitted.parameters == parameter_count(SkipNet, 32, WIDTH)
    again = fit(observation, [0, 10])
    assert_same_bits(again.last, fitted.last)


# ---- What it refuses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "width", "size", "message"),
    [
        (DeepDecoder, 32, 32, r"none for architecture 'deep_decoder': use architecture 'skip', or fit with 'plain'"),
        (SkipNet, None, 32, r"none for width as published: use width 32, or"),
        (SkipNet, 8, 16, r"none for width 8, images of 16 px: use width 32, images of 32 px, or"),
    ],
)
def test_it_names_what_it_has_weights_for(kind, width, size, message):
    images = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    with pytest.raises(InputError, match=f"'educated' has learned weights, and {message}"):
        fit(observe(images, "inpaint", 0, "cpu"), kind=kind, width=width, size=size)


def test_a_checkpoint_that_is_missing_or_damaged_is_one_clear_error(tmp_path, validation):
    observation, path = observe(validation[:1], "inpaint", 0, "cpu"), tmp_path / "mine.safetensors"
    with pytest.raises(InputError, match=r"mine\.safetensors: No such file .*`dipddpm train-educated` writes it"):
        fit(observation, way=Educated(checkpoint=str(path)))
    shutil.copy(SHIPPED, path)
    record = json.loads(SHIPPED.with_suffix(".json").read_text(encoding="utf-8"))
    for text in ("{}", "no json"):
        path.with_suffix(".json").write_text(text)
        with pytest.raises(InputError, match=r"mine\.json: not a record of `dipddpm train-educated`"):
            _ = Educated(checkpoint=str(path)).training_seconds
        path.with_suffix(".safetensors").write_bytes(path.read_bytes() + b" ")  # another content, which is read anew
    path.with_suffix(".json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"mine\.safetensors: sha256 is .* its record says"):
        fit(observation, way=Educated(checkpoint=str(path)))
    save_file({"stem": torch.zeros(1)}, path)
    record["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"mine\.safetensors: not the network that it says it is"):
        fit(observation, way=Educated(checkpoint=str(path)))


def test_another_checkpoint_is_another_way_and_no_network_is_held(tmp_path, validation):
    path = tmp_path / "mine.safetensors"
    shutil.copy(SHIPPED, path)
    ways = [Educated(), Educated(checkpoint=str(path)), Educated(lr=1e-4)]
    path.write_bytes(path.read_bytes() + b" ")
    ways.append(Educated(checkpoint=str(path)))
    keys = [str(describe_call(fit_dip, {"method": way})["arguments"]) for way in ways]
    assert len(set(keys)) == 4 and Educated() == ways[0] == fitting_method("educated") != ways[2]
    fit(observe(validation[:1], "inpaint", 0, "cpu"), way=ways[0])
    assert keys[0] == str(describe_call(fit_dip, {"method": ways[0]})["arguments"])
    assert all(value is None or isinstance(value, str | float) for value in vars(ways[0]).values())


# ---- What ships ----------------------------------------------------------------------------------------------------


def test_the_shipped_network_is_small_and_what_its_record_says():
    record, way = json.loads(SHIPPED.with_suffix(".json").read_text(encoding="utf-8")), Educated()
    assert SHIPPED.stat().st_size < 2_000_000
    assert record["sha256"] == way.content == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    assert {
        "command",
        "data",
        "seed",
        "updates",
        "loss_curve",
        "torch",
        "seconds",
        "processor_seconds",
    } <= record.keys()
    assert record["data"] == "folder:cifar10-jpeg" and record["images"] >= 20_000
    denoisers = json.loads((SHIPPED.parents[1] / "priors" / "learned.json").read_text(encoding="utf-8"))
    assert record["images_hash"] == denoisers["images_hash"]
    assert tuple(record["tasks"]) == honest_tasks() == tuple(record["psnr"])
    assert record["parameters"] == parameter_count(SkipNet, 32, record["width"]) and record["width"] == WIDTH
    assert way.training_seconds == record["training_seconds"] > 60 and way.learned


@pytest.mark.parametrize("task", ["inpaint", "super_resolution", "denoise_25"])
def test_it_restores_before_any_fit_what_an_untrained_network_does_not(task, validation):
    network, images = shipped(), validation
    observation = observe(images, task, 0, "cpu")
    x_0 = images.float() / 127.5 - 1
    torch.manual_seed(0)
    ours, theirs = (Psnr()(net(smooth_estimate(observation)), x_0).mean() for net in (network, Pretrained(32)))
    assert ours > theirs + 5
    assert psnr(network, images, task) == pytest.approx(float(ours), abs=0.01)


# ---- Training as a program -----------------------------------------------------------------------------------------


def small(steps=4, **options):
    return EducatedSettings(steps, **{"batch": 4, "warmup": 2, "width": 4} | options)


def test_the_loss_is_the_squared_error_of_each_image():
    torch.manual_seed(0)
    network, images = Pretrained(16, 4), Colours(size=16).sample("validation", 3)
    observations = [observe(images[:2], "inpaint", 0, "cpu"), observe(images[2:], "denoise_25", 0, "cpu")]
    photographs = [torch.rand(2, 3, 16, 16), torch.rand(1, 3, 16, 16)]
    losses = squared_error(network, photographs, observations)
    expected = [
        (network(smooth_estimate(o)) - x_0).square().flatten(1).mean(1)
        for o, x_0 in zip(observations, photographs, strict=True)
    ]
    torch.testing.assert_close(losses, torch.cat(expected))


@pytest.mark.numerics
def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    dataset, whole, cut = Colours(size=16), tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    given = dict(settings=small(7, tasks=("inpaint", "denoise_25")), held_out=4, save_every=3)
    write = supervised.write_state

    def write_and_die(*arguments):
        write(*arguments)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(supervised, "write_state", write_and_die)
        train_educated(dataset, cut, **given)
    assert not cut.exists() and torch.load(f"{cut}.state", weights_only=True)["done"] == 3
    records = [train_educated(dataset, out, **given) for out in (cut, whole)]
    weights = [load_file(out) for out in (cut, whole)]
    assert weights[0].keys() == weights[1].keys()
    for name, ours in weights[0].items():
        assert_same_bits(ours, weights[1][name], name)
    assert records[0]["loss_curve"] == records[1]["loss_curve"] and records[0]["psnr"] == records[1]["psnr"]


def test_the_command_writes_what_the_way_opens(tmp_path, capsys):
    out = tmp_path / "a.safetensors"
    command = ["train-educated", "--dataset", "photo-patches", "--size", "16", "--width", "4", "--out", str(out)]
    command += ["--task", "inpaint,denoise_25", "--batch", "4", "--held-out", "6", "--device", "cpu", "--steps"]
    assert main([*command, "3"]) == 0
    assert "after 3 updates; dB on validation images before a fit: inpaint" in capsys.readouterr().out
    record = read(out)
    assert record["data"] == "photo-patches" and record["tasks"] == ["inpaint", "denoise_25"]
    assert record["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    way, observation = Educated(checkpoint=str(out)), observe(Colours(size=16).sample("test", 2), "inpaint", 0, "cpu")
    assert way.training_seconds == record["training_seconds"] <= record["seconds"] + 0.1
    assert fit(observation, [0, 2], width=4, size=16, way=way).last.shape == (2, 2, 3, 16, 16)
    assert main([*command, "4"]) == 2
    assert "belongs to a run with other settings (steps)" in capsys.readouterr().err
