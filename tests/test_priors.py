"""Priors: what all of them promise."""

from __future__ import annotations

import inspect
import sys
from dataclasses import replace

import pytest
import torch
from numerics import assert_same_bits, assert_same_to_rounding, growth_of
from torch import Tensor

from dipddpm.data import open_dataset, to_float
from dipddpm.denoisers import Denoiser, open_denoiser
from dipddpm.priors import Evidence, Prior, prior, priors
from dipddpm.priors.fsr import FrequencySelective
from dipddpm.priors.tv import TotalVariation
from dipddpm.rng import ImageRng
from dipddpm.tasks import task, tasks

TASKS = [name for name, kind in tasks().items() if kind.leak == "none"]
N, SEEDS = 3, [3, 1, 4]
FREE = ("biharmonic", "linear", "cubic", "fsr", "lanczos", "tv", "nlm", "wavelet", "mmse", "pnp")
"""The controls that make the best of y alone."""


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    return to_float(open_dataset("photo-patches").sample("test", N))


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    return open_denoiser("unet:early")


@pytest.fixture(scope="module")
def evidence(photographs, denoiser):
    """{task: all that there is}; a prior is shown its part."""
    found = {}
    for name in TASKS:
        observation = task(name).observe(photographs, ImageRng(SEEDS))
        found[name] = Evidence(observation, photographs.flip(-1) * 0.5, photographs, denoiser)
    return found


def cases() -> list:
    """Every prior that is an image on every task that it applies to."""
    photographs = torch.zeros(1, 3, 32, 32)
    observed = {name: task(name).observe(photographs, ImageRng([0])) for name in TASKS}
    return [
        pytest.param(kind(), name, id=f"{kind.name}-{name}")
        for kind in priors().values()
        for name in TASKS
        if kind.injection.uses_mu and kind().applies(observed[name])
    ]


# What every prior promises


@pytest.mark.parametrize(("made", "name"), cases())
def test_mu_is_an_image_that_agrees_with_a_noiseless_y(made, name, evidence, photographs):
    observation = evidence[name].observation
    mu = made.mu(evidence[name].shown_to(made))
    assert mu.shape == photographs.shape and mu.dtype == torch.float32 and mu.isfinite().all()
    assert not mu.requires_grad and not mu.is_inference(), "a network could not be trained with it"
    restored = observation.consistent(mu).clamp(-1, 1)
    if made.name in FREE:
        # Block means can be met only with values that a photograph may not have, where a start of them is cut.
        assert (mu - restored).abs().max() < (0.25 if "super" in name else 1e-6)
    if observation.consistency == "projection":
        assert torch.allclose(observation.operator.A(mu), observation.y, atol=1e-5)


@pytest.mark.parametrize(("made", "name"), cases())
def test_equal_evidence_gives_equal_bits(made, name, evidence):
    shown = evidence[name].shown_to(made)
    assert_same_bits(made.mu(shown), made.mu(shown), made.name)


@pytest.mark.numerics
@pytest.mark.parametrize(
    ("made", "name"),
    [
        case
        for case in cases()
        if not case.values[0].pairs
        and (not case.values[0].evaluations or case.values[1] in ("inpaint", "super_resolution", "denoise_25"))
    ],
)
def test_an_image_gets_the_same_prior_in_any_company(made, name, evidence):
    """Bit for bit beside other images; alone, to rounding for what is computed as a batch, as every network is."""
    shown = evidence[name].shown_to(made)

    def part(images: Tensor) -> Evidence:
        dip, x_0 = (None if x is None else x[images] for x in (shown.dip, shown.x_0))
        return replace(shown, observation=shown.observation.part(images), dip=dip, x_0=x_0)

    whole = made.mu(shown)
    beside_others = made.mu(part(torch.tensor([0, 2, 2])))
    assert_same_bits(beside_others[0], whole[0], made.name)
    alone = made.mu(part(torch.tensor([1])))
    if made.evaluations:
        # A network adds up to 3 x 3 x 256 products per layer; growth is that of the evaluations on one another.
        def again(y: Tensor) -> Tensor:
            return made.mu(replace(shown, observation=replace(shown.observation, y=y)))

        growth = growth_of(again, shown.observation.y)
        assert_same_to_rounding(alone[0], whole[1], operations=9 * 256, growth=growth, what=made.name)
    elif made.name in FREE and made.name != "tv":
        assert_same_bits(alone[0], whole[1], made.name)
    else:
        assert_same_to_rounding(alone[0], whole[1], operations=81, scale=2.0, what=made.name)


@pytest.mark.parametrize("name", sorted(priors()))
def test_variants_are_the_same_prior_with_other_parameters(name):
    made = prior(name)
    variants = made.variants()
    assert 1 <= len(variants) <= 6 and made in variants, "the defaults are among what validation chooses from"
    assert all(type(variant) is type(made) for variant in variants)
    assert all(a != b for i, a in enumerate(variants) for b in variants[:i])
    assert len({variant.described() for variant in variants}) == len(variants)
    assert made.described() or len(variants) == 1
    taken = inspect.signature(type(made)).parameters
    arguments = {name: value for name, value in vars(made).items() if name in taken}
    assert type(made)(**arguments) == made, "its attributes are its arguments, or follow from them"


def test_parameters_are_described_in_a_few_words():
    assert TotalVariation(0.075, 10).described() == "weight 0.075, alternations 10"
    assert prior("blur").described() == "" and prior("blur").variants() == (prior("blur"),)


@pytest.mark.parametrize("name", FREE)
def test_every_parameter_makes_a_difference_on_some_task(name, evidence):
    """A variant that restores like another wastes a trial everywhere."""
    made = prior(name)
    one = [replace(shown, observation=shown.observation.part(slice(1))) for shown in evidence.values()]
    able = [shown for shown in one if made.applies(shown.observation)]
    if not able:
        pytest.skip("an optional package is not installed")
    of_each = [tuple(variant.mu(shown.shown_to(made)) for shown in (able[0], able[-1])) for variant in made.variants()]
    for i, ours in enumerate(of_each):
        assert all(any(not torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)) for theirs in of_each[:i])


@pytest.mark.parametrize("name", sorted(priors()))
def test_a_prior_is_shown_only_what_it_declares(name, evidence):
    made, everything = prior(name), evidence["inpaint"]
    shown = everything.shown_to(made)
    assert (shown.denoiser is everything.denoiser) == (made.evaluations > 0)
    assert (shown.denoiser is None) == (made.evaluations == 0)
    assert (shown.dip is None) == (not made.uses_dip) and (shown.x_0 is None) == (made.leak == "none")


@pytest.mark.parametrize("name", FREE)
def test_new_controls_are_for_restoration_alone(name):
    made = prior(name)
    assert made.role == "control" and made.leak == "none"
    assert not (made.trains_with or made.in_generation or made.uses_dip or made.learned or made.training_seconds)


def test_nothing_heavy_is_imported_before_a_prior_is_made():
    """In a process of its own: finding the priors and asking whether they apply takes no algorithm."""
    import subprocess

    code = (
        "import sys, torch\n"
        "from dipddpm.priors import priors\n"
        "from dipddpm.tasks import task\n"
        "from dipddpm.rng import ImageRng\n"
        "observed = [task(t).observe(torch.zeros(1, 3, 32, 32), ImageRng([0])) for t in ('inpaint', 'denoise_25')]\n"
        "[kind().applies(o) for kind in priors().values() for o in observed]\n"
        "print(sorted({'skimage', 'scipy', 'cv2', 'pywt', 'PIL'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


# Which tasks


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("biharmonic", "inpaint"), ("linear", "inpaint"), ("cubic", "inpaint"), ("lanczos", "super"),
        ("bicubic", "super"), ("nlm", "denoise"), ("wavelet", "denoise"), ("matched", "denoise"), ("tv", ""),
        ("mmse", ""), ("pnp", ""),
    ],
)  # fmt: skip
def test_a_control_applies_where_its_algorithm_makes_sense(name, where, evidence):
    for at, shown in evidence.items():
        assert prior(name).applies(shown.observation) == at.startswith(where)


@pytest.mark.parametrize("name", [name for name in FREE if name not in ("biharmonic", "linear", "cubic", "lanczos")])
def test_the_clean_photograph_leaves_nothing_to_do(name, photographs):
    assert not prior(name).applies(task("reconstruction").observe(photographs, ImageRng(SEEDS)))


def test_without_opencv_fsr_applies_to_nothing(evidence, monkeypatch):
    monkeypatch.setattr("dipddpm.priors.fsr.find_spec", lambda name: None)
    assert not any(FrequencySelective().applies(shown.observation) for shown in evidence.values())


def test_a_learned_prior_names_its_seconds():
    class Learned(Prior):
        name, role, learned, training_seconds = "learned-toy", "control", True, 12.0

        def mu(self, evidence):
            return evidence.observation.pinv

    assert Learned().training_seconds == 12.0 and prior("blur").training_seconds == 0.0
