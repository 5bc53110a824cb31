"""Priors: what all of them promise, and known answers of those that are made from y alone."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from numerics import assert_same_bits, assert_same_to_rounding, growth_of
from torch import Tensor

from dipddpm.data import open_dataset, to_float
from dipddpm.denoisers import Denoiser, open_denoiser
from dipddpm.errors import InputError
from dipddpm.injection.none import NoInjection
from dipddpm.injection.residual import Residual
from dipddpm.priors import Evidence, Prior, prior, priors
from dipddpm.priors.fsr import FrequencySelective
from dipddpm.priors.mmse import OneStepMmse
from dipddpm.priors.pnp import LAST, UNIT, PlugAndPlay
from dipddpm.priors.tv import OPPONENT, TotalVariation
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule
from dipddpm.tasks import Observation, task, tasks
from dipddpm.tasks.inpaint import Mask

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


def error(x: Tensor, x_0: Tensor) -> float:
    return (x - x_0).square().mean().item()


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("made", "name"), [case for case in cases() if case.values[0].name in FREE])
def test_mu_returns_to_the_device_of_y(made, name, evidence):
    shown = evidence[name].shown_to(made)
    device_denoiser = open_denoiser("unet:early", "cuda") if made.evaluations else None
    there = made.mu(replace(shown, observation=shown.observation.to("cuda"), denoiser=device_denoiser))
    assert there.device.type == "cuda"
    assert torch.allclose(there.cpu(), made.mu(shown), atol=1e-2 if made.evaluations else 1e-5)


@pytest.mark.parametrize("name", sorted(priors()))
def test_variants_are_the_same_prior_with_other_parameters(name):
    made = prior(name)
    variants = made.variants()
    assert 1 <= len(variants) <= 6 and made in variants, "the defaults are among what validation chooses from"
    assert all(type(variant) is type(made) for variant in variants)
    assert all(a != b for i, a in enumerate(variants) for b in variants[:i])
    assert len({variant.described() for variant in variants}) == len(variants)
    assert bool(made.described()) == bool(vars(made))
    assert type(made)(**vars(made)) == made, "its attributes are the arguments that it was built with"


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


def test_evaluations_are_those_that_happen(evidence):
    assert {name: kind.evaluations for name, kind in priors().items() if kind.evaluations} == {"mmse": 1, "pnp": 8}
    for name in ("inpaint", "denoise_25"):
        for made in (OneStepMmse(), PlugAndPlay()):
            toy = Gaussian()
            made.mu(Evidence(evidence[name].observation, denoiser=toy))
            assert len(toy.calls) == made.evaluations


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


# Known answers: holes


def ramp(size: int = 32) -> Tensor:
    """An image that is linear in both directions, another slope per colour, (1, 3, size, size)."""
    across = torch.linspace(-1, 1, size)
    planes = [
        0.3 * across[:, None] + 0.2 * across,
        -0.4 * across[:, None] + 0 * across,
        0.1 + 0.5 * across.expand(size, -1),
    ]
    return torch.stack(planes)[None]


def observed_through(mask: Tensor, x_0: Tensor) -> Evidence:
    return Evidence(Observation(mask * x_0, Mask(mask)))


def holes_inside(size: int = 32) -> Tensor:
    """70 % of the pixels missing, but none of the border, so that nothing is extrapolated."""
    mask = (torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(5)) < 0.3).float()
    mask[..., :3, :] = mask[..., -3:, :] = mask[..., :3] = mask[..., -3:] = 1
    return mask


@pytest.mark.parametrize("name", ["biharmonic", "linear", "cubic"])
def test_a_fill_reproduces_a_linear_ramp(name):
    shown = observed_through(holes_inside(), ramp())
    assert error(shown.observation.y, ramp()) > 1e-2
    assert (prior(name).mu(shown) - ramp()).abs().max() < 1e-3


@pytest.mark.parametrize("name", ["biharmonic", "linear", "cubic", "tv", "fsr"])
def test_a_fill_of_one_colour_is_that_colour(name):
    x_0 = torch.tensor([0.2, -0.6, 0.8]).reshape(1, 3, 1, 1).expand(1, 3, 32, 32)
    for at in ("inpaint", "inpaint_box"):
        shown = Evidence(task(at).observe(x_0, ImageRng([0])))
        if prior(name).applies(shown.observation):
            assert (prior(name).mu(shown) - x_0).abs().max() < (0.02 if name == "fsr" else 1e-3)  # 8 bits


@pytest.mark.parametrize("name", ["biharmonic", "linear", "cubic", "tv", "fsr"])
def test_an_image_without_holes_stays_as_it_is(name, photographs):
    shown = observed_through(torch.ones(1, 1, 32, 32), photographs)
    if prior(name).applies(shown.observation):
        assert torch.allclose(prior(name).mu(shown), photographs, atol=1e-5)


@pytest.mark.parametrize("name", ["biharmonic", "linear", "cubic"])
def test_a_single_observed_pixel_fills_the_image(name):
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 3, 4] = 1
    mu = prior(name).mu(observed_through(mask, torch.full((1, 3, 8, 8), 0.5)))
    assert (mu - 0.5).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["biharmonic", "linear", "cubic"])
def test_an_image_of_which_nothing_was_seen_is_refused(name, photographs):
    mask = torch.ones(N, 1, 32, 32)
    mask[1] = 0
    with pytest.raises(InputError, match="image 1 of the batch has no observed pixel"):
        prior(name).mu(observed_through(mask, photographs))


def test_total_variation_fills_two_areas_with_their_colours():
    """Two flat halves, the boundary known: least variation has no third colour. What blurs cannot do."""
    x_0 = torch.full((1, 3, 32, 32), -0.5)
    x_0[..., 16:] = 0.7
    mask = holes_inside()
    mask[..., 14:18] = 1
    shown = observed_through(mask, x_0)
    start, ours = (prior("blur").mu(shown), TotalVariation().mu(shown))
    assert (ours - x_0).abs().max() < 0.05 and error(ours, x_0) < error(start, x_0) / 100


def test_more_alternations_bring_the_variation_down(evidence):
    """What is minimised, written out: the mean length of the gradient, in opponent colours."""

    def variation(x: Tensor) -> float:
        colours = torch.einsum("kc,nchw->nkhw", torch.from_numpy(OPPONENT).float(), x)
        across, down = F.pad(colours.diff(dim=-1), (0, 1)), F.pad(colours.diff(dim=-2), (0, 0, 0, 1))
        return (across.square() + down.square()).sqrt().mean().item()

    for name in ("inpaint", "super_resolution"):
        found = [variation(prior("blur").mu(evidence[name]))]
        found += [variation(TotalVariation(0.05, n).mu(evidence[name])) for n in (1, 4, 16)]
        assert found == sorted(found, reverse=True) and found[-1] < 0.95 * found[0]


# Known answers: small and noisy images


@pytest.mark.parametrize("name", ["lanczos", "bicubic", "tv"])
def test_an_enlarged_ramp_is_a_ramp(name):
    """Inside, where no border is extrapolated, to far less than the steps of the repeated blocks."""
    shown = Evidence(task("super_resolution").observe(ramp(), ImageRng([0])))
    repeated = shown.observation.pinv
    mu = prior(name).mu(shown)
    inside = (..., slice(8, -8), slice(8, -8))
    assert error(mu[inside], ramp()[inside]) < error(repeated[inside], ramp()[inside]) / (2 if name == "tv" else 20)


@pytest.mark.parametrize("name", ["nlm", "tv", "wavelet"])
@pytest.mark.parametrize("at", ["denoise_15", "denoise_25", "denoise_50"])
def test_noise_is_reduced(name, at, evidence, photographs):
    """By the best variant to less than 0.6 of its power at the least noise, less of it at more."""
    observation = evidence[at].observation
    noise = error(observation.y, photographs)
    best = min(error(variant.mu(evidence[at]), photographs) for variant in prior(name).variants())
    assert best < {15: 0.6, 25: 0.4, 50: 0.25}[int(at[-2:])] * noise


@pytest.mark.parametrize("name", ["nlm", "wavelet"])
def test_without_noise_little_is_smoothed(name, photographs):
    """The strength follows the noise level that it is told."""
    x_0 = ramp()
    clear = Observation(x_0, task("denoise_25").operator(ImageRng([0]), 32), 1e-4, "proximal")
    assert (prior(name).mu(Evidence(clear)) - x_0).abs().max() < 0.01


# Known answers: with a denoiser whose every estimate has a closed form


class Gaussian(Denoiser):
    """The exact denoiser of x_0 ~ N(m, s^2), pixel by pixel. It keeps the steps that it was asked about."""

    name = "gaussian"

    def __init__(self, m: float = 0.2, s: float = 0.3, clip: float = 0.0):
        self.m, self.s, self.clip = m, s, clip
        self.schedule, self.size, self.fingerprint = Schedule.linear(), 32, f"{m} {s}"
        self.injection, self.calls = NoInjection(), list[int]()

    def eps(self, x_t: Tensor, t: int) -> Tensor:
        self.calls.append(t)
        abar = self.schedule.abar(t)
        return (1 - abar) ** 0.5 * (x_t - abar**0.5 * self.m) / (abar * self.s**2 + 1 - abar)

    def mmse(self, y: Tensor, sigma: float) -> Tensor:
        """E[x_0 | x_0 + sigma n = y], without a diffusion."""
        return self.m + self.s**2 / (self.s**2 + sigma**2) * (y - self.m)

    def noise_at(self, sigma: float) -> float:
        """The noise of the step that is nearest to ``sigma``."""
        return self.schedule.snr(self.schedule.matched_step(sigma)) ** -0.5

    def photographs(self) -> Tensor:
        x_0 = self.m + self.s * torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
        return x_0.clamp(-1, 1)


@pytest.mark.parametrize("at", ["denoise_15", "denoise_25", "denoise_50"])
def test_one_step_of_a_noisy_image_is_its_mmse_estimate(at):
    toy = Gaussian()
    observation = task(at).observe(toy.photographs(), ImageRng(range(4)))
    ours = OneStepMmse().mu(Evidence(observation, denoiser=toy))
    assert torch.allclose(ours, toy.mmse(observation.y, toy.noise_at(observation.sigma)).clamp(-1, 1), atol=1e-5)
    assert toy.noise_at(observation.sigma) == pytest.approx(observation.sigma, rel=0.01)
    # s^2 sigma^2 / (s^2 + sigma^2) is the error of the best estimate; 12,288 pixels are within 5 % of it.
    s, sigma = toy.s, observation.sigma
    assert error(ours, toy.photographs()) == pytest.approx(s**2 * sigma**2 / (s**2 + sigma**2), rel=0.05)


def test_one_step_elsewhere_takes_the_fill_for_a_noisy_image_and_is_held_to_y():
    toy = Gaussian()
    for at, fill in (("inpaint", "biharmonic"), ("super_resolution", "lanczos")):
        observation = task(at).observe(toy.photographs(), ImageRng(range(4)))
        filled = prior(fill).mu(Evidence(observation))
        for level in (0.1, 0.3):
            expected = observation.consistent(toy.mmse(filled, toy.noise_at(level)).clamp(-1, 1))
            assert torch.allclose(OneStepMmse(level).mu(Evidence(observation, denoiser=toy)), expected, atol=1e-5)


def test_the_denoiser_says_how_far_its_predictions_are_clipped():
    y, operator = torch.full((1, 3, 32, 32), 0.9), task("denoise_25").operator(ImageRng([0]), 32)
    observation = Observation(y, operator, 0.1, "proximal")
    made = [
        OneStepMmse().mu(Evidence(observation, denoiser=Gaussian(m=0.9, s=0.3, clip=clip))).max() for clip in (0.5, 0.0)
    ]
    assert made[0] == 0.5 and made[1] == pytest.approx(0.9, abs=1e-4)


def test_plug_and_play_follows_the_closed_form_of_its_steps():
    """Half-quadratic splitting in scalars, written out: the levels, the data step and the denoiser."""
    toy, made = Gaussian(), PlugAndPlay(49.0, 0.5)
    observation = task("denoise_25").observe(toy.photographs(), ImageRng(range(4)))
    y, sigma = observation.y.double(), observation.sigma
    first, last = 49 * UNIT, sigma
    x = y
    for k in range(8):
        level = first * (last / first) ** (k / 7)
        alpha = 0.5 * sigma**2 / level**2
        x = toy.mmse((y + alpha * x) / (1 + alpha), toy.noise_at(level)).clamp(-1, 1)
    assert torch.allclose(made.mu(Evidence(observation, denoiser=toy)), x.float(), atol=1e-4)
    assert toy.calls == sorted(toy.calls, reverse=True) and len(toy.calls) == 8
    assert error(x, toy.photographs()) < error(observation.y, toy.photographs())


def test_plug_and_play_ends_at_the_noise_of_y_or_a_small_level():
    for at, last in (("inpaint", LAST), ("denoise_50", 2 * 50 / 255)):
        toy = Gaussian()
        PlugAndPlay(25.0).mu(Evidence(task(at).observe(toy.photographs(), ImageRng(range(4))), denoiser=toy))
        assert toy.noise_at(last) == toy.schedule.snr(toy.calls[-1]) ** -0.5
        # A first level below the noise of y would leave noise in: it is raised to that.
        assert (len(set(toy.calls)) == 1) == (at == "denoise_50")


def test_plug_and_play_moves_holes_towards_what_the_denoiser_expects():
    """Of pixels that y says nothing about, N(m, s^2) expects m; what was observed stays."""
    toy = Gaussian(m=0.2, s=0.1)
    observation = task("inpaint").observe(toy.photographs(), ImageRng(range(4)))
    holes = observation.weight() == 0
    start = prior("biharmonic").mu(Evidence(observation))
    distances = [(start[holes] - toy.m).abs().mean()]
    for first in (15.0, 49.0, 98.0):
        mu = PlugAndPlay(first).mu(Evidence(observation, denoiser=toy))
        assert torch.allclose(mu[~holes], toy.photographs()[~holes], atol=1e-6)
        distances.append((mu[holes] - toy.m).abs().mean())
    assert distances == sorted(distances, reverse=True) and distances[-1] < 0.05 * distances[0]
    assert error(mu, toy.photographs()) < error(start, toy.photographs())


@pytest.mark.parametrize("name", ["mmse", "pnp"])
def test_a_prior_that_needs_a_denoiser_says_so(name, evidence):
    with pytest.raises(InputError, match=f"prior '{name}' is made with a denoiser, and there is none here"):
        prior(name).mu(Evidence(evidence["inpaint"].observation))
    toy = Gaussian()
    toy.injection = Residual()
    with pytest.raises(InputError, match=f"the denoiser of prior '{name}' was trained with injection 'residual'"):
        prior(name).mu(Evidence(evidence["inpaint"].observation, denoiser=toy))


def test_a_learned_prior_names_its_seconds():
    class Learned(Prior):
        name, role, learned, training_seconds = "learned-toy", "control", True, 12.0

        def mu(self, evidence):
            return evidence.observation.pinv

    assert Learned().training_seconds == 12.0 and prior("blur").training_seconds == 0.0
