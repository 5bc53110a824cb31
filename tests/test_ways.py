"""What every way of fitting promises, and what each one computes, held against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numerics import apart, assert_same_bits, assert_same_to_rounding, nudge, nudged
from torch import Tensor, nn
from ways import first_network, made, refused, ways_and_networks

from dipddpm.dip import DeepImagePrior
from dipddpm.dip.deep_decoder import DeepDecoder
from dipddpm.dip.skip import SkipNet
from dipddpm.errors import InputError
from dipddpm.fitting import fit_dip, fitting_method, fitting_methods, trajectory
from dipddpm.fitting.aseq import AutoencodingSequence
from dipddpm.fitting.from_y import FromY
from dipddpm.fitting.image_input import ImageInput, OnImages
from dipddpm.fitting.random_projector import RandomProjector
from dipddpm.fitting.red import Red
from dipddpm.fitting.self_guided import Guided, SelfGuided
from dipddpm.fitting.sgld import Langevin, MeanAfterBurnIn
from dipddpm.fitting.sure import Sure, divergence
from dipddpm.fitting.trajectory import Problem
from dipddpm.fitting.tv import TotalVariation, total_variation
from dipddpm.networks import build
from dipddpm.rng import ImageRng
from dipddpm.stopping import stopping_rules
from dipddpm.tasks import Observation
from dipddpm.tasks.denoise import Identity
from dipddpm.tasks.inpaint import Mask

SIZE, SEEDS, DURATIONS = 8, [11, 22, 33], [0, 2, 4, 7]
every_way = pytest.mark.parametrize("way", fitting_methods())
every_way_and_network = pytest.mark.parametrize(("way", "kind", "width", "size"), list(ways_and_networks()))
both_networks = pytest.mark.parametrize(("kind", "width"), [(DeepDecoder, None), (SkipNet, 4)])


class OneLayer(DeepImagePrior):
    """A 1x1 convolution and nothing else: the image is linear in z and in the weights."""

    name, source, input_noise = "one_layer", "this test", 0.0
    channels = 2

    def __init__(self, size: int = SIZE, width: int | None = None):
        super().__init__(size, width)
        self.mix = nn.Conv2d(self.channels, 3, 1, bias=False)

    def z_shape(self) -> tuple[int, int, int]:
        return self.channels, self.size, self.size

    def layers(self, z: Tensor) -> Tensor:
        return self.mix(z)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class Three(OneLayer):
    """One that can be any mixture of the colours of an image."""

    channels = 3


def noisy(images: int = 3, size: int = SIZE) -> Observation:
    """Waves and noise of a known level, by the identity: what every way fits."""
    row, column = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    phase = torch.arange(3.0)[:, None, None]
    x_0 = torch.stack([0.7 * torch.sin(2 * (i + 1) * row + 3 * column + phase) for i in range(images)])
    return Observation(x_0 + 0.1 * ImageRng(range(images)).randn(3, size, size), Identity(), 0.1, "proximal")


def problem(kind=OneLayer, observation: Observation | None = None, durations=(4,), seeds=SEEDS) -> Problem:
    """What a way begins with."""
    observation, rng = observation or noisy(len(seeds)), ImageRng(seeds)
    return Problem(kind, observation, rng, SIZE, durations, *build(kind, rng, SIZE))


def fit(
    way: str, kind=DeepDecoder, width=None, size=SIZE, order=(0, 1, 2), observation=None, durations=DURATIONS, **options
):
    return fit_dip(
        kind, (observation or noisy(size=size)).part(list(order)), ImageRng([SEEDS[i] for i in order]),
        iterations=durations, size=size, width=width, method=made(way, size), **options,
    )  # fmt: skip


@pytest.fixture
def double_precision():
    """Everything that is made without a dtype is float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# What every way promises


@every_way_and_network
@pytest.mark.numerics
def test_an_image_alone_is_fitted_as_in_any_batch(way, kind, width, size, double_precision):
    """To what an ulp of the weights and observations becomes in the same fit; 8 roundings a pass, as in test_fitting.

    In double precision, since a gradient that is rounding alone makes a whole step of Adam in single."""
    fitted, alone = fit(way, kind, width, size), fit(way, kind, width, size, order=(1,))
    reversed_ = fit(way, kind, width, size, order=(2, 1, 0))

    def nudged_networks(*how):
        networks, z = build(*how)
        return nudge(networks), z

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trajectory, "build", nudged_networks)
        moved = fit(way, kind, width, size, observation=replace(noisy(size=size), y=nudged(noisy(size=size).y)))
    passes = math.ceil(made(way).passes)
    for s, iterations in enumerate(fitted.iterations):
        for output in ("last", "ema"):
            ours = getattr(fitted, output)[s]
            growth = max(1.0, apart(ours, getattr(moved, output)[s]) / torch.finfo(ours.dtype).eps)
            of = {"operations": 8 * passes * (iterations + 1), "growth": growth}
            assert_same_to_rounding(getattr(alone, output)[s, 0], ours[1], what="alone", **of)
            assert_same_to_rounding(getattr(reversed_, output)[s], ours.flip(0), what="reversed", **of)


@every_way_and_network
@pytest.mark.numerics
def test_whatever_the_neighbours_are_every_bit_is_the_same(way, kind, width, size):
    fitted, other = fit(way, kind, width, size), noisy(size=size)
    other.y[1:] = other.y[1:].flip(0, -1)
    neighbours = fit(way, kind, width, size, observation=other)
    for output in ("last", "ema", "loss"):
        assert_same_bits(getattr(neighbours, output)[:, 0], getattr(fitted, output)[:, 0], output)
        assert not torch.equal(getattr(neighbours, output)[-1, 1], getattr(fitted, output)[-1, 1])


@every_way_and_network
@pytest.mark.numerics
def test_every_snapshot_is_the_fit_of_its_duration(way, kind, width, size):
    together = fit(way, kind, width, size)
    for s, duration in enumerate(DURATIONS):
        separate = fit(way, kind, width, size, durations=[duration])
        for output in ("last", "ema", "loss"):
            assert_same_bits(getattr(separate, output)[0], getattr(together, output)[s], f"{output} at {duration}")


@every_way
@pytest.mark.numerics
def test_rules_and_the_global_generator_change_nothing(way):
    torch.manual_seed(1)
    network = first_network(way)
    state, fitted = torch.get_rng_state(), fit(way, *network)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    rules = list(stopping_rules().values())
    y = noisy(size=network[-1]).y
    watched = fit(way, *network, rules=rules, x_0=y)
    assert_same_bits(watched.last, fitted.last)
    assert_same_bits(watched.ema, fitted.ema)
    assert set(watched.stopped) == {rule.name for rule in rules}
    for mu, charged in watched.stopped.values():
        assert mu.shape == y.shape and (charged <= DURATIONS[-1]).all()


@every_way
def test_the_misfit_falls_and_is_that_of_the_last_iterate(way):
    kind, width, size = first_network(way) if refused(way, SkipNet, 8, SIZE) else (SkipNet, 8, SIZE)
    fitted = fit(way, kind, width, size, durations=[0, 20])
    assert (fitted.loss[1] < fitted.loss[0]).all(), fitted.loss
    torch.testing.assert_close(fitted.loss, (fitted.last - noisy(size=size).y).square().flatten(2).mean(2))


@every_way
def test_a_way_says_what_it_is_and_what_an_iteration_costs(way):
    method = fitting_method(way)
    assert method.source and "||" in (type(method).__doc__ or "")
    passes = {"plain": 1, "aseq": 1 + 1 / 15, "self_guided": 4, "sure": 2}
    assert method.passes == passes.get(way, 1)
    assert method.evaluations_per_iteration == {"red_denoiser": 0.1}.get(way, 0)
    assert method.learned == (way in ("educated", "red_denoiser"))


@pytest.mark.parametrize(("way", "passes"), [(SelfGuided(noises=3), 3), (AutoencodingSequence(every=1), 4 / 3)])
def test_passes_follow_the_settings(way, passes):
    assert way.passes == pytest.approx(passes)


# tv


def test_total_variation_of_an_image_by_hand():
    image = torch.zeros(2, 3, 2, 2)
    image[1, 0] = torch.tensor([[1.0, 3.0], [0.0, -2.0]])  # across: 2 and 2; down: 1 and 5
    assert total_variation(image).tolist() == [0, 10]


def test_the_step_of_tv_is_adam_on_misfit_and_variation_of_images_in_0_1():
    """Known answer: the first step of Adam is lr times the sign of the gradient."""
    (start,) = fit_dip(OneLayer, noisy(), ImageRng(SEEDS), iterations=[0], size=SIZE).last
    given = problem()
    weight = dict(given.network.named_parameters())["mix.weight"]
    torch.testing.assert_close(given.network(given.z), start)
    in_0_1, y = (given.network(given.z) + 1) / 2, (given.observation.y + 1) / 2
    differences = in_0_1.diff(dim=-1).abs().sum() + in_0_1.diff(dim=-2).abs().sum()
    loss = (in_0_1 - y).square().flatten(1).mean(1).sum() + 0.05 * differences
    loss.backward()
    assert weight.grad is not None
    with torch.no_grad():
        weight -= 0.01 * weight.grad.sign()
    way = TotalVariation(gamma=0.05, lr=0.01, clip=0)
    fitted = fit_dip(OneLayer, noisy(), ImageRng(SEEDS), iterations=[1], size=SIZE, method=way)
    torch.testing.assert_close(fitted.last[0], given.network(given.z), rtol=1e-4, atol=1e-5)


def test_tv_clips_the_gradient_of_each_image_by_itself():
    given = problem()
    y = given.observation.y * torch.tensor([1e4, 1e-3, 1.0])[:, None, None, None]
    given = replace(given, observation=replace(given.observation, y=y))
    steps = TotalVariation(lr=1e-9, gamma=0).begin(given)
    steps.step()
    weight = dict(given.network.named_parameters())["mix.weight"]
    assert weight.grad is not None
    norms = weight.grad.flatten(1).norm(dim=1)
    assert norms[0] == pytest.approx(1, rel=1e-5) and 0 < norms[1] < 0.1


# from_y, and the image as input


def test_the_input_from_y_is_a_function_of_y_and_of_the_seed():
    def z(y: Tensor, seeds=SEEDS) -> Tensor:
        given = problem(DeepDecoder, replace(noisy(), y=y), seeds=seeds)
        return ImageInput(given)(given.observation.pinv)

    y = noisy().y
    first = z(y)
    torch.manual_seed(3)
    assert_same_bits(z(y), first)
    assert first.shape == problem(DeepDecoder).z.shape
    other = z(y, [11, 44, 33])
    assert torch.equal(other[[0, 2]], first[[0, 2]]) and not torch.equal(other[1], first[1])
    torch.testing.assert_close(z(y.roll(1, 0) - 2 * y), z(y.roll(1, 0)) - 2 * first)  # linear


def test_the_input_from_y_is_the_block_means_mixed():
    given = problem(DeepDecoder)
    resize = ImageInput(given)
    blocks = nn.functional.avg_pool2d(given.observation.y, 2)
    torch.testing.assert_close(
        resize(given.observation.y), torch.einsum("nck,nkhw->nchw", resize.mixture, blocks)
    )  # fmt: skip


def test_from_y_fits_what_plain_fits_with_that_input():
    given = problem()
    z = ImageInput(given)(given.observation.pinv)
    expected = given.network(z)
    assert_same_bits(FromY().begin(problem()).image(), expected.detach())


# self_guided


def test_the_gradient_of_z_of_self_guided_by_hand():
    """A linear network of matrix M (3 x 3): with g = M (z + mean xi), the gradient of the loss with respect to z is
    2/n (M^T (g - y) + alpha (M - I)^T (g - z))."""
    given, alpha = problem(), 0.3
    guided = Guided(given)
    noises = 0.1 * ImageRng(SEEDS).randn(4, 3, SIZE, SIZE)
    y, n = given.observation.y, given.observation.y[0].numel()
    g = guided(noises).mean(1)
    loss = (g - y).square().sum() / n + alpha * (g - guided.z).square().sum() / n
    (found,) = torch.autograd.grad(loss, guided.z)
    weight = dict(given.network.named_parameters())["mix.weight"].detach()[:, :, :, 0, 0]
    M = weight @ guided.network.input.mixture
    z = guided.z.detach()
    by_hand = (M @ (z + noises.mean(1)).flatten(2)).view_as(z)
    torch.testing.assert_close(g.detach(), by_hand, rtol=1e-4, atol=1e-5)
    to_y, to_z = (by_hand - y).flatten(2), (by_hand - z).flatten(2)
    expected = 2 / n * (M.mT @ to_y + alpha * (M - torch.eye(3)).mT @ to_z)
    torch.testing.assert_close(found.flatten(2), expected, rtol=1e-4, atol=1e-6)


def test_self_guided_trains_z_at_its_own_rate():
    given = problem()
    steps = SelfGuided(lr=1e-6, lr_z=0.25).begin(given)
    guided = steps.iteration.network
    before = guided.z.detach().clone()
    steps.step()
    moved = (guided.z.detach() - before).abs()
    assert moved.max() == pytest.approx(0.25, rel=1e-3) and moved.median() > 0.2


# aseq


def test_the_fixed_point_of_aseq():
    """A = I and a network that can scale its input freely: for a fixed z the least loss is at
    f = (y + lambda z) / (1 + lambda). From y / 2, with lambda = 1, each renewal halves the way to y, where it ends."""
    y = ImageRng([1, 2, 3]).randn(3, SIZE, SIZE)
    steps = AutoencodingSequence(weight=1.0, every=300, lr=0.02).begin(problem(Three, Observation(y, Identity())))
    steps.iteration.network.input.mixture.copy_(torch.eye(3))
    steps.iteration.z.mul_(0.5)
    steps.iteration.shown.copy_(steps.iteration.z)
    for share in (0.75, 0.875, 0.9375):
        for _ in range(300):
            steps.step()
        torch.testing.assert_close(steps.image(), share * y, atol=0.01, rtol=0)


def test_aseq_renews_z_every_few_steps():
    steps = AutoencodingSequence(every=3).begin(problem())
    first = steps.iteration.z.clone()
    assert_same_bits(first[:, 0], problem().observation.pinv)
    for _ in range(3):
        steps.step()
        assert_same_bits(steps.iteration.z, first)
    expected = steps.image()
    output = steps.step()
    assert_same_bits(steps.iteration.z[:, 0], expected)
    assert not torch.equal(output, expected)  # f(f(z)), and no longer f(z)


# sgld


def test_the_stationary_variance_of_langevin_on_a_quadratic(monkeypatch):
    """Gradient descent in the place of Adam. With z = 1 the loss is the mean over the three colours of (w_c - y)^2,
    whose curvature is a = 2/3: w <- (1 - lr a) w + N(0, s^2) has the stationary variance s^2 / (1 - (1 - lr a)^2)."""

    class One(OneLayer):
        channels = 1

        def draw_z(self, rng: ImageRng) -> Tensor:
            return torch.ones(len(rng), 1, SIZE, SIZE)

    monkeypatch.setattr(torch.optim, "Adam", lambda parameters, lr, **how: torch.optim.SGD(parameters, lr=lr))
    images, lr, scale = 300, 0.3, 0.5
    observation = Observation(torch.zeros(images, 3, SIZE, SIZE), Identity())
    fitted = fit_dip(
        One, observation, ImageRng(range(images)), iterations=[20], size=SIZE, method=Langevin(lr=lr, scale=scale)
    )
    weights = fitted.last[0, :, :, 0, 0]
    expected = (scale * lr) ** 2 / (1 - (1 - lr * 2 / 3) ** 2)
    # the relative deviation of a variance from 900 normal numbers is sqrt(2 / 900) = 0.047
    assert float(weights.square().mean()) == pytest.approx(expected, rel=4 * 0.047)


def test_the_mean_after_burn_in_of_several_durations():
    mean = MeanAfterBurnIn([1, 4, 10], 0.35)
    outputs = torch.arange(1.0, 11)
    found = {}
    for i, output in enumerate(outputs, 1):
        mean.see(output)
        if i in (1, 4, 10):
            found[i] = float(mean.at(i))
    # of 10 the first three are left out, of 4 the first
    assert found == {1: 1.0, 4: 3.0, 10: pytest.approx(float(outputs[3:].mean()))}


# random_projector


@both_networks
def test_random_projector_trains_z_and_the_norms_and_no_convolution(kind, width):
    given = problem(kind)
    before = {name: p.detach().clone() for name, p in given.network.named_parameters()}
    steps = RandomProjector().begin(given)
    z = steps.iteration.network.z.detach().clone()
    for _ in range(2):
        steps.step()
    changed = {name for name, p in given.network.named_parameters() if not torch.equal(p, before[name])}
    convolutions = {name for name, p in before.items() if p.ndim > 2}
    assert changed and not changed & convolutions
    assert not torch.equal(steps.iteration.network.z, z)
    for name in before.keys() - changed:  # biases of convolutions stay too
        assert name in convolutions or name.endswith("bias"), name


@pytest.mark.parametrize(
    ("observation", "weight"),
    [
        (noisy(), 0.45),
        (Observation(noisy().y, Mask(torch.ones(3, 1, SIZE, SIZE))), 0.01),
        (Observation(noisy().y, Identity()), 0.5),
    ],
)
def test_random_projector_takes_the_weight_that_is_published_for_the_task(observation, weight):
    assert RandomProjector().weight_for(observation) == weight
    assert RandomProjector(weight=0.2).weight_for(observation) == 0.2


def test_random_projector_names_a_network_without_norms():
    with pytest.raises(InputError, match=r"'random_projector' trains the affine of norms.*'one_layer' has none.*plain"):
        fit("random_projector", OneLayer)


# sure


def test_the_divergence_against_the_exact_one_of_a_linear_network():
    """h(x) = M x at every pixel: the mean of dh_i / dx_i is trace(M) / 3. One probe has a deviation of
    |M + M^T|_F / (3 sqrt(2 pixels)); 400 probes are averaged."""
    given = problem()
    network, e = OnImages(given), 1e-2
    weight = dict(given.network.named_parameters())["mix.weight"].detach()[:, :, :, 0, 0]
    M = weight @ network.input.mixture
    rng, x, found = ImageRng(SEEDS), given.observation.y, []
    for _ in range(400):
        b = rng.randn(3, SIZE, SIZE)
        here, there = network(torch.stack([x, x + e * b], 1)).unbind(1)
        found.append(divergence(here, there, b, e).detach())
    expected = M.diagonal(dim1=1, dim2=2).sum(1) / 3
    deviation = (M + M.mT).flatten(1).norm(dim=1) / (3 * (2 * SIZE**2) ** 0.5) / 400**0.5
    assert ((torch.stack(found).mean(0) - expected).abs() < 4 * deviation + 1e-4).all()


def test_sure_of_a_linear_network_ends_at_its_closed_form():
    """h = M y with a free 3 x 3 matrix M: SURE is least at M = I - sigma^2 C^-1, C the second moments of the colours
    of y. A misfit alone would end at M = I."""

    sigma, y = 0.5, ImageRng([1, 2, 3]).randn(3, SIZE, SIZE)  # C is about I, so that all directions converge alike
    given = problem(Three, Observation(y, Identity(), sigma))
    steps = Sure(lr=0.02, share=0.0).begin(given)
    steps.iteration.network.input.mixture.copy_(torch.eye(3))
    for _ in range(500):
        steps.step()
    y = y.flatten(2)
    C = y @ y.mT / SIZE**2
    expected = (torch.eye(3) - sigma**2 * torch.linalg.inv(C)) @ y
    found = torch.stack([steps.step() for _ in range(100)]).mean(0).flatten(2)
    # the probes leave noise in the weights; a fit of y itself would be ten times as far away
    error, of_y = (found - expected).square().mean().item(), (y - expected).square().mean().item()
    assert error < 0.01 * of_y


@pytest.mark.parametrize(
    "observation",
    [
        replace(noisy(), sigma=0.0),
        Observation(noisy().y, Mask(torch.ones(3, 1, SIZE, SIZE)), 0.1),
    ],
)
def test_sure_names_what_it_cannot_fit(observation):
    with pytest.raises(InputError, match=r"'sure' needs y = x_0 \+ noise of a known sigma.*denoising task.*plain"):
        fit("sure", observation=observation)


def test_sure_refuses_coarse_products():
    with pytest.raises(InputError, match=r"'sure' takes small differences.*bf16.*use precision fp32"):
        fit_dip(OneLayer, noisy(), ImageRng(SEEDS), iterations=[1], size=SIZE, method=Sure(precision="bf16"))


# red


def test_the_splitting_of_red_by_hand(monkeypatch):
    """With D(x) = 0: x = penalty (f + u) / (beta + penalty), u <- u + f - x."""
    monkeypatch.setattr(Red, "_denoise", lambda way, image: np.full_like(image, 0.5))  # 0 of images in [-1, 1]
    seen: list[Tensor] = []
    steps = Red(beta=0.25, penalty=0.75, lr=1e-12).begin(problem())
    seen = [steps.step() for _ in range(2)]
    f = seen[0]
    torch.testing.assert_close(seen[1], f)
    x_1 = 0.75 * f
    u_1 = f - x_1
    x_2 = 0.75 * (f + u_1)
    u_2 = u_1 + f - x_2
    expected = (f - noisy().y).square().flatten(1).mean(1) + 0.75 * (x_2 - f - u_2).square().flatten(1).mean(1)
    torch.testing.assert_close(steps.iteration.loss(f), expected)


def test_red_denoises_every_ten_iterations(monkeypatch):
    calls: list[int] = []
    monkeypatch.setattr(Red, "_denoise", lambda way, image: calls.append(1) or image)
    fit("red", durations=[11])
    assert len(calls) == 2 * 3
