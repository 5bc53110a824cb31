"""How earlier claims fare: each protocol differs from the fair one in its flaw and in nothing else."""

import dataclasses

import numpy as np
import pytest

from dipddpm.data import open_dataset
from dipddpm.denoisers import open_denoiser
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.earlier_claims import EarlierClaims
from dipddpm.experiments.fits import Fits
from dipddpm.experiments.profiles import profile
from dipddpm.experiments.restoration import Restoration
from dipddpm.measure.store import Store

AXES = dataclasses.replace(
    profile("smoke").restoration,
    images=2, validation_images=2, tasks=("inpaint",), architectures=("deep_decoder",), ways=(), iterations=(8,),
    budgets=(1, 2), noise_budgets=(4,), judges=("psnr",), trials=2, rules=("es-wmv", "oracle"),
)  # fmt: skip
TASK = "inpaint"


@pytest.fixture(scope="module")
def claims(tmp_path_factory):
    fits = Fits(AXES, open_dataset("photo-patches"), Store(tmp_path_factory.mktemp("cache")).measured)
    return EarlierClaims(Restoration(fits, open_denoiser("unet")))


def psnr(claims, arm, nfe):
    return np.array(claims.restoration.cell(TASK, arm, nfe, judge="psnr").scores["psnr"])


def test_every_protocol_says_its_flaw_and_two_finite_numbers(claims):
    assert claims.claims(TASK) == list(claims.protocols)
    for name in claims.claims(TASK):
        claim = claims.claim(TASK, name)
        assert claim.flaw and claim.instead and claim.unit in ("dB", "x")
        assert len(claim.published) == len(claim.fair) == (AXES.images if claim.unit == "dB" else 1), name
        assert np.isfinite([*claim.published, *claim.fair]).all(), name


def test_the_gain_over_noise_is_that_of_the_cells_themselves(claims):
    start, nfe = claims.start(TASK)
    gain = np.array(start.scores["psnr"]) - psnr(claims, Arm.named("noise"), nfe)
    for name, side in (("sees the photograph", "fair"), ("no control", "published"), ("rival not tuned", "fair")):
        assert np.allclose(getattr(claims.claim(TASK, name), side), gain), name


def test_the_rival_that_was_left_out_is_the_leader_among_controls(claims):
    restoration, (start, nfe) = claims.restoration, claims.start(TASK)
    leader = restoration.leaders(TASK, "psnr", "control")[0]
    rival = psnr(claims, leader, restoration.best_budget(leader, TASK, nfe, "psnr"))
    assert np.allclose(claims.claim(TASK, "no control").fair, np.array(start.scores["psnr"]) - rival)


def test_the_best_on_the_test_images_is_never_worse_than_the_one_chosen_before(claims):
    claim = claims.claim(TASK, "best on the test images")
    assert np.mean(claim.published) >= np.mean(claim.fair)


def test_seconds_without_those_of_the_dip_make_a_larger_speed_up(claims):
    claim = claims.claim(TASK, "seconds of the DIP left out")
    (published,), (fair,) = claim.published, claim.fair
    start, _ = claims.start(TASK)
    assert published / fair == pytest.approx(sum(start.seconds.values()) / start.seconds["diffusion"])


def test_a_rule_that_no_run_watches_makes_no_claim():
    axes = dataclasses.replace(AXES, rules=())
    fits = Fits(axes, open_dataset("photo-patches"), lambda function, arguments, **_: None)
    made = EarlierClaims(Restoration(fits, open_denoiser("unet")))
    assert "stopped by the photograph" not in made.claims(TASK)
