"""What fitting a Deep Image Prior to a batch of images promises, of every architecture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from numerics import apart, assert_same_bits, assert_same_to_rounding, nudge, nudged
from torch import Tensor, nn
from ways import first_network, made

from dipddpm import stacking
from dipddpm.dip import (
    DeepImagePrior,
    architecture_class,
    architectures,
    parameter_count,
)
from dipddpm.errors import InputError
from dipddpm.fitting import DipFit, _together, fit_dip, fitting_method, fitting_methods, trajectory
from dipddpm.fitting.plain import Plain
from dipddpm.measure.content import describe_call
from dipddpm.networks import build, network_of
from dipddpm.rng import ImageRng
from dipddpm.stopping import stopping_rule_class
from dipddpm.stopping.es_wmv import WindowedMovingVariance
from dipddpm.tasks import Observation, Operator, denoise

SIZE = 16  # smallest that every architecture is built for
SEEDS = [11, 22, 33]
every_architecture = pytest.mark.parametrize("name", architectures())


class Identity(Operator):
    """A = I: the fit sees the image itself."""

    def A(self, x: Tensor) -> Tensor:
        return x

    A_adjoint = A_pinv = A


def observe(images: int = len(SEEDS), size: int = SIZE) -> Observation:
    """Smooth images in [-0.8, 0.8], each with a frequency of its own."""
    row, column = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    phase = torch.arange(3.0)[:, None, None]
    return Observation(
        torch.stack([0.8 * torch.sin(2 * (i + 1) * row + 3 * column + phase) for i in range(images)]), Identity()
    )


def fit(name: str, iterations, *, order=(0, 1, 2), seeds=SEEDS, y=None, **options):
    """The fit of images ``order``, each with the seed that belongs to it."""
    return fit_dip(
        architecture_class(name),
        Observation((observe().y if y is None else y)[list(order)], Identity()),
        ImageRng([seeds[i] for i in order]),
        iterations=iterations,
        size=SIZE,
        **options,
    )


class Tiny(DeepImagePrior):
    """A 1x1 convolution that remembers what it answered while gradients were on."""

    name, source = "tiny", "this test"
    seen: list[Tensor]

    def __init__(self, size: int = 8, width: int | None = None):
        super().__init__(size, width)
        self.mix = nn.Conv2d(2, 3, 1)

    def z_shape(self) -> tuple[int, int, int]:
        return 2, self.size, self.size

    def layers(self, z: Tensor) -> Tensor:
        return self.mix(z)

    def forward(self, z: Tensor) -> Tensor:
        image = super().forward(z)
        if torch.is_grad_enabled():
            Tiny.seen.append(image.detach().clone())
        return image


@every_architecture
@pytest.mark.numerics
def test_iteration_0_is_the_untrained_network(name):
    """Networks one by one run other kernels than the stack: to what an ulp of every weight moves, layer by layer."""
    untrained = fit(name, [0])
    for i, seed in enumerate(SEEDS):
        network, z = network_of(architecture_class(name), seed, SIZE)
        expected = network(z)[0]
        growth = growth_between(expected, nudge(network)(z)[0])
        for output in (untrained.last[0, i], untrained.ema[0, i]):
            assert_same_to_rounding(output, expected, operations=ROUNDINGS, growth=growth)
        loss = (expected - observe().y[i]).square().mean()
        # of values up to 2 that move by so much, the mean of squares moves by at most 4 times as much
        assert_same_to_rounding(untrained.loss[0, i], loss, operations=ROUNDINGS, growth=4 * growth)


@pytest.fixture
def double_precision():
    """Everything that is made without a dtype is float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# In a pass through a network a layer, its norm, its activation and the upsampling round, and so do their gradients; an
# ulp of every weight and value of y is one such error in each layer. Each iteration makes them anew.
ROUNDINGS = 8


def growth_between(before: Tensor, after: Tensor) -> float:
    """What became of an ulp: one of values up to 1 is 2**-23 in single precision, 2**-52 in double."""
    return max(1.0, apart(before, after) / torch.finfo(before.dtype).eps)


def ulp_moved(name: str) -> DipFit:
    """The fit from initial weights and observations that were all moved by an ulp."""

    def nudged_networks(*how):
        networks, z = build(*how)
        return nudge(networks), z

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trajectory, "build", nudged_networks)
        return fit(name, [0, 3], y=nudged(observe().y))


def check_neighbours(name: str) -> None:
    """Other photographs with other weights in places 0 and 2: the kernels are the same, and so must be every bit."""
    y = observe().y
    fitted = fit(name, [0, 3])
    other = fit(name, [0, 3], y=torch.stack([-y[2], y[1], 0.5 * y[0]]), seeds=[44, SEEDS[1], 55])
    for output in ("last", "ema", "loss"):
        ours, theirs = getattr(fitted, output), getattr(other, output)
        assert_same_bits(ours[:, 1], theirs[:, 1], output)
        assert not torch.equal(ours[:, 0], theirs[:, 0]) and not torch.equal(ours[:, 2], theirs[:, 2])


def check_company(name: str) -> None:
    """In another place, and alone: to what an ulp of weights and observations becomes in the same fit.

    The order is reversed and not rotated: a rotation leaves everyone the neighbour it had.
    """
    fitted, moved = fit(name, [0, 3]), ulp_moved(name)
    order = (2, 1, 0)
    shuffled, alone = fit(name, [0, 3], order=order), fit(name, [0, 3], order=(0,))
    for s, iterations in enumerate(fitted.iterations):
        for output in ("last", "ema"):
            ours = getattr(fitted, output)[s]
            growth = growth_between(ours, getattr(moved, output)[s])
            of = {"operations": ROUNDINGS * (iterations + 1), "growth": growth}
            assert_same_to_rounding(getattr(shuffled, output)[s], ours[list(order)], what="reversed", **of)
            assert_same_to_rounding(getattr(alone, output)[s, 0], ours[0], what="alone", **of)


@every_architecture
@pytest.mark.numerics
def test_whatever_the_neighbours_are_an_image_is_fitted_the_same_bit_for_bit(name):
    check_neighbours(name)


@every_architecture
@pytest.mark.numerics
def test_order_and_batch_size_change_nothing_but_rounding(name):
    """In single precision, where an ulp grows as it may: with conv_decoder to 0.1 in 3 iterations. A norm cancels its
    biases, whose gradients are then rounding alone; Adam makes whole steps of them, and a ReLU stands between."""
    check_company(name)


@every_architecture
@pytest.mark.numerics
def test_order_and_batch_size_change_nothing_in_double_precision(name, double_precision):
    """Gradients that are rounding alone are far below the eps of Adam here, so that the bound is tight for all."""
    check_company(name)


@pytest.mark.parametrize("name", ["conv_decoder", "deep_decoder"])
@pytest.mark.parametrize(("check", "leak"), [(check_neighbours, 1e-5), (check_company, 1e-3)])
@pytest.mark.numerics
def test_a_leak_between_images_is_caught(check, leak, name, double_precision, monkeypatch):
    """A planted fault: each convolution sees that share of the image before."""
    forward = stacking.StackedConv2d.forward
    monkeypatch.setattr(
        stacking.StackedConv2d, "forward", lambda layer, x: forward(layer, x + leak * (x.roll(1, 0) - x))
    )
    with pytest.raises(AssertionError, match=r"values differ|times what rounding explains"):
        check(name)


@every_architecture
@pytest.mark.numerics
def test_snapshots_equal_separate_fits(name):
    together = fit(name, [5, 0, 2, 2])
    assert together.iterations == (0, 2, 5)
    for s, duration in enumerate(together.iterations):
        separate = fit(name, [duration])
        assert_same_bits(together.last[s], separate.last[0])
        assert_same_bits(together.ema[s], separate.ema[0])
        assert_same_bits(together.loss[s], separate.loss[0])
        assert_same_bits(together.mu(duration, "last"), separate.last[0])
        assert_same_bits(together.mu(duration, "ema"), separate.ema[0])


@every_architecture
@pytest.mark.numerics
def test_same_seed_gives_the_same_result_whatever_the_global_generator(name):
    torch.manual_seed(1)
    first = fit(name, [2])
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = fit(name, [2])
    assert_same_bits(first.last, second.last)
    assert_same_bits(first.ema, second.ema)
    assert torch.equal(torch.get_rng_state(), state)


@every_architecture
def test_images_have_weights_and_z_of_their_own(name):
    network, z = build(architecture_class(name), ImageRng([11, 22, 11]), SIZE, None)
    # a grid of coordinates is the same for every image
    assert torch.equal(z[0], z[1]) == (name in ("siren", "skip_mesh")) and torch.equal(z[0], z[2])
    for parameter_name, p in network.named_parameters():
        if parameter_name.endswith("weight") and p.ndim > 2:
            assert not torch.equal(p[0], p[1]), parameter_name
        assert torch.equal(p[0], p[2]), parameter_name


@every_architecture
def test_fitting_reduces_the_loss_of_every_image(name):
    loss = fit(name, [0, 20]).loss
    assert (loss[1] < 0.8 * loss[0]).all(), loss


@every_architecture
def test_parameters_of_a_fit_are_those_of_one_network(name):
    assert fit(name, [0]).parameters == parameter_count(architecture_class(name), SIZE)


def test_ema_is_the_normalised_weighted_average_of_the_outputs():
    Tiny.seen, decay = [], 0.9
    observation = observe(2, size=8)
    fitted = fit_dip(
        Tiny, observation, ImageRng([1, 2]), iterations=[1, 4], size=8, method=Plain(ema_decay=decay, lr=0.1)
    )
    assert len(Tiny.seen) == 4
    weights = [decay**3, decay**2, decay, 1.0]
    average = sum(w * image for w, image in zip(weights, Tiny.seen, strict=True)) / sum(weights)
    torch.testing.assert_close(fitted.ema[1], average)
    torch.testing.assert_close(fitted.ema[0], Tiny.seen[0])
    assert (Tiny.seen[0] - Tiny.seen[3]).abs().max() > 0.1  # a plain last iterate would not pass


def test_loss_is_that_of_the_last_iterate_under_the_operator():
    class Half(Identity):
        def A(self, x: Tensor) -> Tensor:
            return 0.5 * x

    y = observe(2, size=8).y
    Tiny.seen = []
    fitted = fit_dip(Tiny, Observation(y, Half()), ImageRng([1, 2]), iterations=[3], size=8)
    torch.testing.assert_close(fitted.loss[0], (0.5 * fitted.last[0] - y).square().mean(dim=(1, 2, 3)))


def test_without_input_noise_a_step_is_adam_on_the_misfit():
    """Known answer: the first Adam step is lr times the sign of the gradient."""
    y, lr, Tiny.seen = observe(1, size=8).y, 0.01, []
    network, z = network_of(Tiny, 5, 8)
    (network(z) - y).square().mean().backward()
    with torch.no_grad():
        for p in network.parameters():
            p -= lr * p.grad.sign()
        expected = network(z)
    fitted = fit_dip(
        Tiny, Observation(y, Identity()), ImageRng([5]), iterations=[1], size=8, method=Plain(lr=lr, input_noise=0.0)
    )
    torch.testing.assert_close(fitted.last[0], expected, rtol=1e-4, atol=1e-5)


@every_architecture
def test_input_noise_is_that_of_the_architecture_unless_given(name):
    """None for the decoders and the network of sines, whose authors use none; no draw is spent on it."""
    kind, untouched = architecture_class(name), ImageRng([11])
    default, same, other = (
        fit(name, [2], order=(0,), method=Plain(input_noise=noise)).last
        for noise in (None, kind.input_noise, 0 if kind.input_noise else 1 / 30)
    )
    assert torch.equal(default, same) and not torch.equal(default, other)

    rng = ImageRng([11])
    fit_dip(kind, observe(1), rng, iterations=[2], size=SIZE)
    build(kind, untouched, SIZE)
    without = torch.equal(rng.rand(1), untouched.rand(1))
    quiet = ("conv_decoder", "deep_decoder", "fixed_upsampling", "siren")
    assert without == (kind.input_noise == 0) == (name in quiet)


@pytest.mark.parametrize("shape", [(3, 12, 12), (1, 8, 8)])
def test_networks_that_return_something_else_than_an_image_of_the_size(shape):
    class Wrong(Tiny):
        name = "wrong"

        def layers(self, z: Tensor) -> Tensor:
            return z.new_zeros(len(z), *shape)

    Tiny.seen = []
    for iterations in ([1], [0]):
        with pytest.raises(InputError, match=rf"'wrong' returned \(2, {shape[0]}.* where \(2, 3, 8, 8\) was expected"):
            fit_dip(Wrong, observe(2, size=8), ImageRng([1, 2]), iterations=iterations, size=8)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_seconds_hold_the_draws_on_every_device(device, monkeypatch):
    """Whoever fits a DIP pays for its noise. "meta" stands for a device that is not the CPU."""
    now, draws = 0.0, 0

    class Slow(Tiny):
        """Takes 1 s a fitting iteration."""

        def forward(self, z: Tensor) -> Tensor:
            nonlocal now
            now += torch.is_grad_enabled()
            return super().forward(z)

    class SlowRng(ImageRng):
        """Takes 100 s a draw of noise."""

        def randn(self, *shape: int) -> Tensor:
            nonlocal now, draws
            now, draws = now + 100, draws + 1
            return super().randn(*shape)

    Tiny.seen = []
    monkeypatch.setattr(torch.optim, "Adam", lambda parameters, lr, **how: torch.optim.SGD(parameters, lr=lr))
    observation = observe(1, size=8).to(device)
    fitted = fit_dip(Slow, observation, SlowRng([1], device), iterations=[0, 1, 20], size=8, clock=lambda: now)
    assert draws == 20 and fitted.seconds == (0, 101, 2020)


def test_seconds_leave_the_snapshots_out():
    now = 0.0

    class Slow(Tiny):
        """Takes 1 s a fitting iteration and 100 s a snapshot."""

        def forward(self, z: Tensor) -> Tensor:
            nonlocal now
            now += 1 if torch.is_grad_enabled() else 100
            return super().forward(z)

    Tiny.seen = []
    fitted = fit_dip(Slow, observe(1, size=8), ImageRng([1]), iterations=[0, 1, 3], size=8, clock=lambda: now)
    assert fitted.seconds == (0, 1, 3)


def test_the_seconds_of_a_rule_are_its_own():
    now = 0.0

    class Slow(Tiny):
        """Takes 1 s a fitting iteration."""

        def forward(self, z: Tensor) -> Tensor:
            nonlocal now
            now += torch.is_grad_enabled()
            return super().forward(z)

    class Watching(WindowedMovingVariance):
        """Takes 10 s to look."""

        name, takes = "watching", 10

        def see(self, iteration: int, output: Tensor) -> None:
            nonlocal now
            now += self.takes
            super().see(iteration, output)

    class Pondering(Watching):
        """Takes 100 s to look."""

        name, takes = "pondering", 100

    Tiny.seen = []
    fitted = fit_dip(
        Slow, observe(1, size=8), ImageRng([1]), iterations=[0, 1, 3], size=8, rules=[Watching, Pondering],
        clock=lambda: now,
    )  # fmt: skip
    assert fitted.seconds == (0, 1, 3)
    assert fitted.watching == {"watching": (0, 10, 30), "pondering": (0, 100, 300)}
    assert fitted.watching_seconds_for(2, "pondering") == 200 and fitted.watching_seconds_for(2) == 0
    assert DipFit.unpacked(fitted.packed()).watching == fitted.watching
    assert _together([fitted, fitted]).watching == {"watching": (0, 20, 60), "pondering": (0, 200, 600)}


def test_learning_rate_is_that_of_the_architecture_unless_given():
    Tiny.seen = []
    default, same, other = (
        fit_dip(Tiny, observe(1, size=8), ImageRng([1]), iterations=[3], size=8, method=Plain(lr=lr)).last
        for lr in (None, Tiny.lr, 10 * Tiny.lr)
    )
    assert torch.equal(default, same) and not torch.equal(default, other)


@pytest.mark.parametrize("iterations", [[], [-1], [0, -5, 10]])
def test_durations_must_be_numbers_from_0(iterations):
    with pytest.raises(InputError, match="iterations"):
        fit("deep_decoder", iterations)


@pytest.mark.parametrize("generators", [0, 2, 4])
def test_every_image_needs_a_generator(generators):
    with pytest.raises(InputError, match=f"{generators} generators for 3 images"):
        fit_dip(architecture_class("deep_decoder"), observe(), ImageRng(range(generators)), iterations=[1], size=SIZE)


# fitting methods


@pytest.mark.parametrize("method", fitting_methods())
def test_contract_of_a_fitting_method(method):
    """Snapshots of one trajectory, rules that look on, and images that know nothing of each other."""
    kind, width, size = first_network(method)
    options = {"iterations": [0, 2, 4], "size": size, "width": width, "method": made(method, size)}
    observation = Observation(observe(size=size).y, denoise.Identity(), sigma=0.1)  # what every method can fit
    fitted = fit_dip(kind, observation, ImageRng(SEEDS), **options)
    watched = fit_dip(kind, observation, ImageRng(SEEDS), rules=[stopping_rule_class("es-wmv")], **options)
    assert fitted.iterations == (0, 2, 4) and fitted.last.shape == fitted.ema.shape == (3, 3, 3, size, size)
    assert fitted.loss.shape == (3, 3) and (fitted.loss[2] < fitted.loss[0]).all()
    assert list(fitted.seconds) == sorted(fitted.seconds) and fitted.parameters == parameter_count(kind, size, width)
    assert_same_bits(watched.last, fitted.last)
    mu, charged = watched.stopped["es-wmv"]
    assert mu.shape == (3, 3, size, size) and (charged <= 4).all()
    others = replace(observation, y=observation.y.roll(1, -1))
    others.y[0] = observation.y[0]
    assert_same_bits(fit_dip(kind, others, ImageRng([SEEDS[0], 5, 6]), **options).last[:, 0], fitted.last[:, 0])


def test_methods_that_hold_the_same_are_equal_and_are_known_by_what_they_hold():
    assert Plain() == fitting_method("plain") != Plain(lr=0.1)
    calls = [describe_call(fit_dip, {"method": method}) for method in (Plain(), fitting_method("plain"), Plain(lr=0.1))]
    assert calls[0] == calls[1] != calls[2]


def test_an_unknown_method_lists_the_known():
    with pytest.raises(InputError, match=r"unknown fitting method 'magic': choose from .*plain"):
        fitting_method("magic")


def test_a_fit_is_unpacked_as_it_was_packed():
    options = {"iterations": [0, 2], "size": SIZE, "rules": [stopping_rule_class("es-wmv")]}
    fitted = fit_dip(architecture_class("deep_decoder"), observe(), ImageRng(SEEDS), **options)
    again = DipFit.unpacked(fitted.packed())
    assert (again.iterations, again.seconds, again.parameters) == (fitted.iterations, fitted.seconds, fitted.parameters)
    assert torch.equal(again.mu(2), fitted.mu(2)) and torch.equal(
        again.mu(2, stopping="es-wmv"), fitted.mu(2, "last", "es-wmv")
    )
