"""Priors of a whole set: made as they will be at test time, stored once, refused for other images."""

import pytest
import torch

from dipddpm import fitting
from dipddpm.data import open_dataset
from dipddpm.errors import InputError
from dipddpm.experiments.fits import Fits
from dipddpm.experiments.profiles import profile
from dipddpm.injection import injection
from dipddpm.measure.store import Store
from dipddpm.prior_sets import PriorSet, PriorSettings, make_priors
from dipddpm.schedule import Schedule
from dipddpm.train import train
from dipddpm.training import TrainingSettings, initial_network

IMAGES = open_dataset("photo-patches", size=16).load("train")[:6]
DIP = PriorSettings("dip", "super_resolution", "deep_decoder", 3, seed=1)


@pytest.mark.numerics
def test_priors_are_made_in_batches_once_and_charged(tmp_path, monkeypatch):
    memo, fitted = Store(tmp_path).measured, []
    fit = fitting.fit_dip
    monkeypatch.setattr(fitting, "fit_dip", lambda *a, **k: fitted.append(len(a[2])) or fit(*a, **k))
    few = make_priors(IMAGES[:4], DIP, memo, batch=2)
    assert fitted == [2, 2] and few.mu.shape == (4, 3, 16, 16) and few.seconds > 0
    all_of_them = make_priors(IMAGES, DIP, memo, batch=2)
    assert fitted == [2, 2, 2], "what was fitted before was fitted again"
    assert torch.equal(all_of_them.mu[:4], few.mu) and all_of_them.seconds > few.seconds
    together = make_priors(IMAGES, DIP, Store(tmp_path / "other").measured, batch=6)
    assert torch.allclose(together.mu, all_of_them.mu, atol=1e-3)  # the batch decides nothing


@pytest.mark.numerics
def test_a_training_prior_is_made_as_one_at_test_time_is(tmp_path):
    """From the observation, with the generators of the image: the same image gets the same prior in the experiment."""
    small = profile("smoke").override(
        ["images=3", "validation_images=2", "dip.iterations=3", "dip.architecture=deep_decoder"]
    )
    fits = Fits(small.restoration, open_dataset("photo-patches"), Store(tmp_path).measured, seed=1)
    fit = fits.fit("super_resolution", "deep_decoder").mu(3)
    expected = fits.observation("super_resolution", "test").consistent(fit)
    made = make_priors(open_dataset("photo-patches").sample("test", 3), DIP, Store(tmp_path).measured)
    assert torch.allclose(made.mu, expected, atol=1e-3)


def test_an_untrained_prior_is_a_dip_at_0_iterations(tmp_path):
    settings = PriorSettings("untrained", "super_resolution", "deep_decoder", iterations=20)
    assert settings == PriorSettings("untrained", "super_resolution", "deep_decoder")
    made = make_priors(IMAGES[:2], settings, Store(tmp_path).measured)
    at_0 = PriorSettings("dip", "super_resolution", "deep_decoder", 0)
    assert torch.equal(made.mu, make_priors(IMAGES[:2], at_0, Store(tmp_path).measured).mu)
    assert made.record()["iterations"] == 0


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.numerics
def test_shuffled_gives_each_image_the_dip_of_the_one_before_whatever_the_batch(tmp_path, batch):
    memo, images, counted = Store(tmp_path).measured, IMAGES[:3], []
    # of a task that holds mu to nothing
    settings = PriorSettings("shuffled", "denoise_25", "deep_decoder", 3)
    made = make_priors(images, settings, memo, batch=batch, progress=counted.append)
    fitted = make_priors(images, PriorSettings("dip", "denoise_25", "deep_decoder", 3), memo)
    assert torch.allclose(made.mu, fitted.mu.roll(1, 0), atol=1e-3)
    assert sum(counted) == 3 and made.keys == fitted.keys


def test_a_single_image_has_no_other_to_be_paired_with(tmp_path):
    settings = PriorSettings("shuffled", "super_resolution", "deep_decoder", 1)
    with pytest.raises(InputError, match="'shuffled' takes the DIP of another image, and there is 1: give it 2"):
        make_priors(IMAGES[:1], settings, Store(tmp_path).measured)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("oracle", "prior 'oracle' shows the photograph itself"),
        ("noise", "prior 'noise' is no image"),
        ("matched", "prior 'matched' does not apply to task 'super_resolution'"),
        ("magic", "unknown prior 'magic'"),
    ],
)
def test_priors_that_nothing_can_be_trained_with(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        make_priors(IMAGES, PriorSettings(name, "super_resolution"), Store(tmp_path).measured)


def test_the_naive_task_makes_no_priors():
    with pytest.raises(InputError, match="task 'reconstruction' shows the photograph itself"):
        PriorSettings("dip", "reconstruction", "skip", 3)


def test_a_store_is_refused_for_other_images_and_other_priors(tmp_path):
    made = make_priors(IMAGES[:4], PriorSettings("bicubic", "super_resolution"), Store(tmp_path).measured)
    file = tmp_path / "mu.safetensors"
    made.save(file)
    again = PriorSet.load(file, made.settings)
    assert torch.equal(again.mu, made.mu) and again.keys == made.keys
    again.check(IMAGES[:4])
    with pytest.raises(InputError, match=r"made for other images: 4 of them, of which 3 are among the 4 given"):
        again.check(IMAGES[1:5])
    with pytest.raises(InputError, match=r"mu\.safetensors holds priors of .*bicubic.*asked for are those of .*dip"):
        PriorSet.load(file, DIP)
    with pytest.raises(InputError, match=r"none\.safetensors: no such file"):
        PriorSet.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(InputError, match=r"text\.safetensors: not a safetensors file"):
        PriorSet.load(tmp_path / "text.safetensors")

    def start(**priors):
        config = {"size": 16, "channels": (8, 16)}
        train(
            IMAGES[1:5], IMAGES[:2], tmp_path / "out.safetensors", model=initial_network(config, 0),
            schedule=Schedule.linear(), settings=TrainingSettings(1, batch=2), injection=injection("residual"),
            save=lambda *a: None, **priors,
        )  # fmt: skip

    with pytest.raises(InputError, match="made for other images"):
        start(priors=made)
    with pytest.raises(InputError, match="injection 'residual' shows the network a prior: name one"):
        start()
