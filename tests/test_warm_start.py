"""The learned warm start: known answers, a training that resumes to the same bits."""

import hashlib
import json

import pytest
import torch
from numerics import assert_same_bits
from safetensors.torch import load_file

from dipddpm import supervised, warm_start
from dipddpm import train_warm_start as verb
from dipddpm.cli import main
from dipddpm.data import Dataset, open_dataset, to_float
from dipddpm.errors import InputError
from dipddpm.prior_sets import observe
from dipddpm.priors.learned import Learned
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule
from dipddpm.supervised import degraded, honest_tasks
from dipddpm.tasks import task
from dipddpm.train_warm_start import WarmStartSettings, train_warm_start
from dipddpm.warm_start import (
    FLOOR,
    Prediction,
    WarmStart,
    fill,
    open_warm_start,
    smooth_estimate,
    warm_start_loss,
)

CPU = torch.device("cpu")
NOISELESS = [name for name in honest_tasks() if not task(name).sigma]


class Colours(Dataset):
    """Images of one colour each, drawn evenly from grey levels 40 to 215."""

    name, licence, how_to_get = "colours", "none", "made here"

    def load(self, split):
        count, seed = {"train": (256, 0), "validation": (32, 1), "test": (32, 2)}[split]
        rng = torch.Generator().manual_seed(seed)
        levels = torch.randint(40, 216, (count, 3, 1, 1), generator=rng, dtype=torch.uint8)
        return levels.expand(-1, -1, self.size, self.size).contiguous()


def small(steps=4, **options):
    return WarmStartSettings(steps, **{"batch": 16, "warmup": 2, "channels": (8, 16)} | options)


def read(path):
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def validation():
    """Crops of the validation photographs, which no network was trained on."""
    return open_dataset("photo-patches").sample("validation", 24)


# ---- What the network starts from, and what it is trained with ----------------------------------------------------


def test_filling_keeps_what_was_seen_and_fills_any_hole():
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fill(x, torch.ones_like(x)), x)
    for size in (32, 24, 6):  # 24 and 6 cannot be halved down to one pixel
        seen = torch.zeros(1, 1, size, size)
        seen[..., 0, 0] = 1.0
        assert torch.allclose(fill(0.7 * seen, seen), torch.tensor(0.7))
    weight = (x[:, :1] < 0.3).float().expand_as(x)
    assert torch.equal((fill(x * weight, weight) * weight), x * weight)


@pytest.mark.parametrize("name", NOISELESS)
def test_the_smooth_estimate_agrees_with_y_and_is_nearly_the_smoothest(name, validation, monkeypatch):
    observation = observe(validation, name, 0, "cpu")
    estimate, filled = smooth_estimate(observation), fill(observation.pinv, observation.weight())
    assert torch.allclose(observation.operator.A(estimate), observation.y, atol=1e-5)

    def roughness(x):
        return float((x - warm_start._blur(x)).square().sum())

    with monkeypatch.context() as patch:
        patch.setattr(warm_start, "ROUNDS", 300)
        least = roughness(smooth_estimate(observation))
    above, before = roughness(estimate) - least, roughness(observation.consistent(filled)) - least
    assert -1e-3 * least < above < 0.2 * before
    # A colour that is the same everywhere has nothing to be smoothed.
    flat = task(name).observe(torch.full((1, 3, 32, 32), 0.25), ImageRng([0]))
    assert torch.allclose(smooth_estimate(flat), torch.tensor(0.25), atol=1e-5)


def test_a_noisy_observation_is_left_as_it_is():
    observation = observe(Colours().sample("test", 2), "denoise_25", 0, "cpu")
    assert torch.equal(smooth_estimate(observation), observation.y)


def test_the_loss_is_the_psnr_of_the_mean_and_the_likelihood_of_the_spread():
    error, size = torch.tensor([[0.1, 0.4], [0.02, 0.02]]), torch.tensor([[0.1, 0.4], [0.2, 0.01]])
    mean = (0.3 + error).reshape(2, 1, 1, 2).requires_grad_()
    spread = size.reshape(2, 1, 1, 2).requires_grad_()
    losses = warm_start_loss(Prediction(mean, spread), torch.full((2, 1, 1, 2), 0.3))
    squared = error.square()
    expected = (squared.mean(1) + FLOOR**2).log() / 2 + (size.square().log() + squared / size.square()).mean(1) / 2
    assert losses.shape == (2,) and torch.allclose(losses, expected)
    losses.sum().backward()
    # The mean learns from the squared error alone, for the scale of each image; the spread is best where it is as large
    # as the error, is pulled down where it is larger, and up where it is smaller.
    scale = 2 * (squared.mean(1, keepdim=True) + FLOOR**2)
    assert torch.allclose(mean.grad.reshape(2, 2), error / scale)
    pull = spread.grad.reshape(2, 2)
    assert torch.allclose(pull[0], torch.zeros(2), atol=1e-5) and pull[1, 0] > 0 > pull[1, 1]


def test_the_spread_moves_nothing_that_the_mean_rests_on(validation):
    model = WarmStart(channels=(8, 16))
    torch.nn.init.normal_(model.spread[-1].weight)
    (found,) = model.predict([observe(validation[:2], "inpaint", 0, "cpu")])
    found.spread.sum().backward()
    assert {name.partition(".")[0] for name, p in model.named_parameters() if p.grad is not None} == {"spread"}


def test_an_untrained_network_gives_the_smooth_estimate(validation):
    model = WarmStart(channels=(8, 16))
    observation = observe(validation[:2], "inpaint", 0, "cpu")
    (found,) = model.predict([observation])
    assert torch.allclose(found.mean, smooth_estimate(observation), atol=1e-6) and (found.spread > FLOOR).all()
    with pytest.raises(InputError, match="a warm start with 2 resolutions cannot halve 30 px that often"):
        WarmStart(30, (8, 16))


def test_a_batch_is_a_function_of_seed_and_update_and_the_tasks_take_turns():
    images, settings = Colours(size=16).load("train"), small(batch=5, tasks=("denoise_25", "inpaint"))
    for update, counts in ((0, [3, 2]), (1, [2, 3])):
        (x_0, observations), again = degraded(images, settings, update, CPU), degraded(images, settings, update, CPU)
        assert [len(part) for part in x_0] == counts
        for a, b in zip(observations, again[1], strict=True):
            assert_same_bits(a.y, b.y)
    other = degraded(images, small(batch=5, tasks=("denoise_25", "inpaint"), seed=1), 0, CPU)[1]
    assert not torch.equal(other[0].y, degraded(images, settings, 0, CPU)[1][0].y)


def test_every_task_is_learnt_but_the_one_that_shows_the_photograph(tmp_path):
    assert "reconstruction" not in honest_tasks() and {"inpaint", "denoise_50"} <= set(honest_tasks())
    for names, message in (
        (("reconstruction",), "task 'reconstruction' shows the photograph itself"),
        (("sharpen",), "unknown task 'sharpen': choose from"),
        (("inpaint", "inpaint"), "one is named twice"),
    ):
        with pytest.raises(InputError, match=message):
            train_warm_start(Colours(size=16), tmp_path / "a.safetensors", small(tasks=names))


# ---- Known answer -------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_it_learns_the_posterior_of_one_colour_in_noise(tmp_path):
    """y = c + sigma n, with c the same in all K pixels of a channel and anything beforehand: the posterior is
    N(mean of y, sigma^2 / K), but for a shrinkage towards the middle of the range by less than 2 %."""
    dataset, out = Colours(size=8), tmp_path / "a.safetensors"
    settings = small(300, tasks=("denoise_50",), lr=1e-2, ema_decay=0.95, channels=(24, 32))
    record = train_warm_start(dataset, out, settings, held_out=32)
    observation = observe(dataset.load("test"), "denoise_50", 0, "cpu")
    (found,) = open_warm_start(out).predict([observation])
    posterior = observation.y.mean((2, 3), keepdim=True)
    away = float((found.mean - posterior).square().mean().sqrt())
    assert away < 0.2 * observation.sigma, "the mean is not the posterior's"
    error = float((found.mean - to_float(dataset.load("test"))).square().mean().sqrt())
    spread = float(found.spread.square().mean().sqrt())
    assert error / 1.5 < spread < 1.5 * error, "the spread is not the size of the error (it began at twice that)"
    measured = record["calibration"]["denoise_50"]
    assert 0.55 < measured["within_1"] < measured["within_2"] and measured["within_2"] > 0.9
    assert measured["t0"] == Schedule.linear().matched_step(measured["spread"])
    assert record["loss_curve"][-1][1] < record["loss_curve"][0][1] - 0.3


# ---- Training as a program -----------------------------------------------------------------------------------------


class Killed(BaseException):
    """Like a signal: nobody handles it."""


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
        train_warm_start(dataset, cut, **given)
    assert not cut.exists() and torch.load(f"{cut}.state", weights_only=True)["done"] == 3
    records = [train_warm_start(dataset, out, **given) for out in (cut, whole)]
    weights = [load_file(out) for out in (cut, whole)]  # the file itself has its metadata in any order
    assert weights[0].keys() == weights[1].keys()
    for name, ours in weights[0].items():
        assert_same_bits(ours, weights[1][name], name)
    assert records[0]["loss_curve"] == records[1]["loss_curve"]
    assert records[0]["calibration"] == records[1]["calibration"]


def test_the_command_writes_a_prior_and_refuses_what_does_not_go_on(tmp_path, capsys):
    out = tmp_path / "a.safetensors"
    command = [
        "train-warm-start",
        "--dataset",
        "photo-patches",
        "--size",
        "16",
        "--channels",
        "8,16",
        "--out",
        str(out),
    ]
    command += ["--task", "inpaint,super_resolution", "--batch", "4", "--held-out", "6", "--device", "cpu", "--steps"]
    assert main([*command, "3"]) == 0
    assert "after 3 updates; dB on validation images: inpaint" in capsys.readouterr().out
    record = read(out)
    assert record["data"] == "photo-patches" and record["tasks"] == ["inpaint", "super_resolution"]
    assert record["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert 0 < record["training_seconds"] <= record["seconds"] + 0.1 and record["parameters"] > 0
    assert Learned(out).training_seconds == record["training_seconds"]
    assert main([*command, "4"]) == 2
    assert "belongs to a run with other settings (steps)" in capsys.readouterr().err
    out.with_suffix(".safetensors.state").write_bytes(b"cut short")
    assert main([*command, "3"]) == 2
    assert "a.safetensors.state is damaged: delete it, and the run begins anew" in capsys.readouterr().err
    assert main([*command, "3", "--channels", "8,16,32,64,128"]) == 2
    assert "a warm start with 5 resolutions cannot halve 16 px that often" in capsys.readouterr().err


def test_a_loss_that_is_nan_names_the_state_that_there_is(tmp_path, monkeypatch):
    loss, calls = verb.warm_start_loss, []

    def spoilt(prediction, x_0):
        calls.append(1)
        return loss(prediction, x_0) * (float("nan") if len(calls) == 3 else 1)

    monkeypatch.setattr(verb, "warm_start_loss", spoilt)
    with pytest.raises(InputError, match=r"the loss became nan at update 2.*; last good state: .*state, of update 2$"):
        train_warm_start(Colours(size=16), tmp_path / "a.safetensors", small(), save_every=2, held_out=4)
    assert not (tmp_path / "a.safetensors").exists()
