"""Recipes of a DIP: what they are called, how long they run at equal cost, and what is chosen on validation images."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from dipddpm.data import open_dataset
from dipddpm.denoisers import open_denoiser
from dipddpm.dip import architecture_class, width_for
from dipddpm.errors import InputError
from dipddpm.experiments.arms import Arm, arms, tuned_as
from dipddpm.experiments.fits import Fits, curve
from dipddpm.experiments.fitting_quality import FitCurve, FittingExperiment
from dipddpm.experiments.profiles import profile
from dipddpm.experiments.recipes import Recipe, as_recipe, at_equal_cost, dip_flops, share
from dipddpm.experiments.restoration import Restoration
from dipddpm.fitting import fitting_method
from dipddpm.measure.store import Store
from dipddpm.metrics.psnr import Psnr

SMALL = dataclasses.replace(
    profile("smoke").restoration,
    images=3,
    validation_images=2,
    tasks=("inpaint", "denoise_25"),
    architectures=("deep_decoder",),
    few_architectures=(),
    iterations=(3, 6),
    ways=("tv", "self_guided", "sure", "random_projector"),
    few_ways=("sure",),
    widths=(8,),
    rates=(1e-5, 0.03),
    budgets=(1,),
    noise_budgets=(2,),
    trials=2,
)


@pytest.fixture(scope="module")
def restoration(tmp_path_factory):
    memo = Store(tmp_path_factory.mktemp("cache")).measured
    denoiser = open_denoiser("unet")
    return Restoration(Fits(SMALL, open_dataset("photo-patches"), memo, denoiser=denoiser), denoiser)


def test_a_recipe_is_named_by_what_differs_from_the_published_fit():
    assert Recipe("skip").label == "skip" and Recipe("skip").is_published
    assert Recipe("skip:32", "tv").label == "skip:32 tv" and not Recipe("skip:32", "tv").is_published
    assert Recipe("resnet", rates=(0.1,)).label == "resnet tuned lr" and not Recipe("resnet", rates=(0.1,)).is_published
    assert as_recipe("skip") == Recipe("skip") == as_recipe(Recipe("skip"))
    assert Arm.named("dip", Recipe("skip:32", "tv"), 50).label == "dip skip:32 tv 50"


def test_a_number_after_the_colon_is_a_width():
    assert (width_for("skip:48", 32, "skip"), width_for("skip", 32, "skip")) == (48, None)
    few = width_for("unet:matched", 32, "skip:8")
    assert few < width_for("unet:matched", 32, "skip"), "matched to the published width, and not to that of skip:8"


@pytest.mark.parametrize("name", ["skip:", "skip:0", "skip:-4", "skip:wide", "skip:8:8"])
def test_what_is_no_width_is_named(name):
    with pytest.raises(InputError, match=rf"DIP architecture '{name}': after the colon.*skip:32"):
        architecture_class(name)


def test_a_dearer_recipe_runs_for_fewer_iterations():
    """By operations to the power 2/3, and by passes."""
    skip, half = (dip_flops(architecture_class("skip"), 32, width)["flops"] for width in (None, 32))
    assert share(Recipe("skip"), "skip:32") == pytest.approx((skip / half) ** (2 / 3))
    assert share(Recipe("skip:32", "self_guided"), "skip:32") == 4 == fitting_method("self_guided").passes
    assert at_equal_cost((50, 150), Recipe("skip:32"), "skip:32") == (50, 150)
    assert at_equal_cost((50, 150), Recipe("skip:32", "self_guided"), "skip:32") == (12, 38)
    assert at_equal_cost((1,), Recipe("skip:32", "self_guided"), "skip:32") == (1,)
    cheap = at_equal_cost((50, 150), Recipe("deep_decoder"), "skip:32")
    assert cheap[0] > 300 and all(i == float(f"{i:.2g}") for i in cheap), "two digits"


def test_one_thing_at_a_time_is_varied_of_the_first_architecture():
    made = [recipe.label for recipe in SMALL.recipes_for("inpaint")]
    assert made == [
        "deep_decoder", "deep_decoder:8", "deep_decoder tv", "deep_decoder self_guided", "deep_decoder sure",
        "deep_decoder random_projector", "deep_decoder tuned lr",
    ]  # fmt: skip
    assert "deep_decoder tv" not in [recipe.label for recipe in SMALL.recipes_for("denoise_25")]
    leaking = dataclasses.replace(SMALL, tasks=("inpaint", "reconstruction"))
    assert [recipe.label for recipe in leaking.recipes_for("reconstruction")] == ["deep_decoder"]


def test_settings_are_those_of_the_first_architecture_after_as_dear_a_fit():
    axes = dataclasses.replace(SMALL, iterations=(40, 80))
    guided = Recipe("deep_decoder", "self_guided")
    assert axes.durations(guided) == (10, 20)
    basis = [tuned_as(Arm.named("dip", guided, i), axes, "inpaint", 1) for i in (10, 20)]
    assert basis == [Arm.named("dip", "deep_decoder", i) for i in (40, 80)]
    assert tuned_as(Arm.named("dip", guided, 10), axes, "inpaint", 0) == Arm.named("dip", guided, 10)


def test_rules_and_ablations_run_on_the_published_fit_alone():
    for arm in arms(SMALL, "inpaint"):
        if arm.recipe and (arm.stopping or arm.output != "last" or arm.role == "ablation"):
            assert arm.recipe == Recipe("deep_decoder"), arm.label


def test_what_a_way_refuses_is_no_arm(restoration):
    able = {arm.recipe.way for arm in restoration.able("inpaint") if arm.recipe}
    assert "tv" in able and "sure" not in able
    assert "sure" in {arm.recipe.way for arm in restoration.able("denoise_25") if arm.recipe}


def test_a_way_is_charged_its_passes(restoration):
    recipe = Recipe("deep_decoder", "self_guided")
    iterations = SMALL.durations(recipe)[-1]
    cell = restoration.cell("inpaint", Arm.named("dip", recipe, iterations), 1)
    assert (cell.iterations, cell.passes) == (iterations, 4 * iterations) and cell.seconds["dip"] > 0
    plain = restoration.cell("inpaint", Arm.named("dip", "deep_decoder", 6), 1)
    assert plain.passes == plain.iterations == 6


def test_the_learning_rate_is_that_of_the_best_validation_image(restoration):
    recipe, fits = Recipe("deep_decoder", rates=SMALL.rates), restoration.fits
    x_0, observation = fits.images("validation").x_0, fits.observation("inpaint", "validation")
    found = {}
    for lr in SMALL.rates:
        one = Recipe("deep_decoder", rates=(lr,))
        mus = [fits.fit("inpaint", one, "validation").mu(i) for i in SMALL.durations(one)]
        found[lr] = max(float(Psnr()(observation.consistent(mu), x_0).mean()) for mu in mus)
    assert fits.method(recipe, "inpaint").lr == max(found, key=found.get) == 0.03
    cell = restoration.cell("inpaint", Arm.named("dip", recipe, 6), 0)
    assert cell.fitted == "lr 0.03"


def test_the_weight_of_tv_is_chosen_on_validation_images(restoration):
    recipe, found = Recipe("deep_decoder", "tv"), {}
    for method in fitting_method("tv").variants():
        fit = restoration.fits._stored_fit("inpaint", recipe, method, "validation").fit
        observation = restoration.fits.observation("inpaint", "validation")
        x_0 = restoration.fits.images("validation").x_0
        mus = [observation.consistent(fit.mu(i)) for i in SMALL.durations(recipe)]
        found[method.gamma] = max(float(Psnr()(mu, x_0).mean()) for mu in mus)
    assert sorted(found) == pytest.approx([1e-5, 1e-4])
    assert restoration.fits.method(recipe, "inpaint").gamma == max(found, key=found.get)


# Quality by duration


def test_two_durations_an_octave_are_looked_at():
    assert curve(5) == [] and curve(6) == [5] and curve(41) == [5, 7, 10, 14, 20, 28, 40]


@pytest.mark.parametrize("higher", [True, False])
def test_the_time_to_a_level_is_the_first_duration_there_image_by_image(higher):
    sign = 1 if higher else -1
    quality = sign * np.array([[10.0, 10, 10], [20, 15, 12], [19, 21, 13]])
    found = FitCurve((0, 5, 10), quality, (0.1, 1.0, 2.0)).reached(sign * np.array([19.5, 20, 14]), higher)
    assert found.tolist() == [1, 2, 3], "the last one never has it"


def test_the_quality_of_a_recipe_by_hand(restoration):
    experiment, recipe = FittingExperiment(restoration), Recipe("deep_decoder", "tv")
    found = experiment.quality("inpaint", recipe)
    fits, fit = restoration.fits, restoration.fits.fit("inpaint", recipe)
    x_0, observation = fits.images("test").x_0, fits.observation("inpaint", "test")
    expected = Psnr()(observation.consistent(fit.mu(found.iterations)), x_0)
    assert torch.allclose(torch.tensor(found.alone), expected)
    assert found.passes == found.iterations and found.best.setting.nfe > 0 and found.best.arm.recipe == recipe
    assert found.seconds == pytest.approx(fit.seconds_for(found.iterations) / 3)
    plain = experiment.quality("inpaint", Recipe("deep_decoder"))
    assert plain.reached.all(), "the plain fit has its own quality"
    assert (plain.seconds_to_level <= plain.seconds + 1e-9).all()


@pytest.mark.long
def test_operations_that_are_stored_import_no_compiler(tmp_path):
    script = (
        "import sys; from pathlib import Path; from dipddpm.measure.store import Store; "
        "from dipddpm.experiments.recipes import Recipe, count_by, share; "
        f"count_by(Store(Path({str(tmp_path)!r})).measured); "
        "print(share(Recipe('deep_decoder'), 'skip:32'), 'torch._dynamo' in sys.modules)"
    )
    counted, found = (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    )
    assert counted[0] == found[0] and found[1] == "False"
