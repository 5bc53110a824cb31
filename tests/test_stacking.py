"""A stacked module gives every image what its own network gives it alone: values and gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from numerics import apart, assert_same_to_rounding, nudge, nudged
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from dipddpm.dip import architectures
from dipddpm.errors import InputError
from dipddpm.networks import build
from dipddpm.rng import ImageRng
from dipddpm.stacking import stack, stack_layer

N, CHANNELS, SIZE = 3, 4, 8


class Nested(nn.Module):
    """A network with a forward of its own, lists of modules, and layers without parameters between."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(CHANNELS, 6, 3, padding=1), nn.BatchNorm2d(6), nn.LeakyReLU(0.2))
        self.branches = nn.ModuleList(nn.Sequential(nn.Conv2d(6, 2, 1), nn.GroupNorm(1, 2)) for _ in range(2))
        self.mix = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = F.interpolate(self.stem(x), scale_factor=2, mode="bilinear", align_corners=False)
        h = torch.cat([branch(h) for branch in self.branches], dim=1)
        return self.mix(h.permute(0, 2, 3, 1))


class SharedActivation(nn.Module):
    """One layer without state in two places, and a place that is left empty."""

    def __init__(self):
        super().__init__()
        act = nn.LeakyReLU(0.2, inplace=True)
        self.body = nn.Sequential(nn.Conv2d(CHANNELS, 6, 3, padding=1), act, nn.Conv2d(6, 3, 1), act)
        self.norm: nn.Module | None = nn.BatchNorm2d(3)
        self.norm = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return y if self.norm is None else self.norm(y)


IMAGE, ROWS, VECTOR = (CHANNELS, SIZE, SIZE), (5, CHANNELS), (CHANNELS,)
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv": (lambda: nn.Conv2d(CHANNELS, 6, 3, padding=1), IMAGE),
    "conv without bias": (lambda: nn.Conv2d(CHANNELS, 6, 3, padding=1, bias=False), IMAGE),
    "conv with stride": (lambda: nn.Conv2d(CHANNELS, 6, 3, stride=2, padding=1), IMAGE),
    "conv in groups": (lambda: nn.Conv2d(CHANNELS, 6, 3, padding=1, groups=2), IMAGE),
    "conv depthwise": (lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS), IMAGE),
    "conv dilated": (lambda: nn.Conv2d(CHANNELS, 6, 3, padding=2, dilation=2), IMAGE),
    "conv unpadded": (lambda: nn.Conv2d(CHANNELS, 6, 3), IMAGE),
    "conv reflected": (lambda: nn.Conv2d(CHANNELS, 6, 3, padding=1, padding_mode="reflect"), IMAGE),
    "conv reflected with stride": (
        lambda: nn.Conv2d(CHANNELS, 6, 3, stride=2, padding=1, padding_mode="reflect"),
        IMAGE,
    ),
    "conv oblong and circular": (
        lambda: nn.Conv2d(CHANNELS, 6, (3, 5), padding=(1, 2), padding_mode="circular"),
        IMAGE,
    ),
    "conv padded to the same size": (lambda: nn.Conv2d(CHANNELS, 6, 3, padding="same"), IMAGE),
    "conv 1x1": (lambda: nn.Conv2d(CHANNELS, 6, 1), IMAGE),
    "conv 1x1 without bias": (lambda: nn.Conv2d(CHANNELS, 6, 1, bias=False), IMAGE),
    "conv 1x1 with stride": (lambda: nn.Conv2d(CHANNELS, 6, 1, stride=2), IMAGE),
    "conv 1x1 in groups": (lambda: nn.Conv2d(CHANNELS, 6, 1, groups=2), IMAGE),
    "conv 1x1 padded": (lambda: nn.Conv2d(CHANNELS, 6, 1, padding=1), IMAGE),
    "batch norm": (lambda: nn.BatchNorm2d(CHANNELS), IMAGE),
    "batch norm without affine": (lambda: nn.BatchNorm2d(CHANNELS, affine=False), IMAGE),
    "batch norm with a large eps": (lambda: nn.BatchNorm2d(CHANNELS, eps=0.5), IMAGE),
    "group norm": (lambda: nn.GroupNorm(2, CHANNELS), IMAGE),
    "group norm without affine": (lambda: nn.GroupNorm(2, CHANNELS, affine=False), IMAGE),
    "instance norm": (lambda: nn.InstanceNorm2d(CHANNELS), IMAGE),
    "instance norm with affine": (lambda: nn.InstanceNorm2d(CHANNELS, affine=True), IMAGE),
    "linear on a vector": (lambda: nn.Linear(CHANNELS, 6), VECTOR),
    "linear on rows": (lambda: nn.Linear(CHANNELS, 6), ROWS),
    "linear without bias": (lambda: nn.Linear(CHANNELS, 6, bias=False), ROWS),
    "without parameters": (lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.MaxPool2d(4), nn.Tanh()), IMAGE),
    "instance norm without a twin": (lambda: nn.InstanceNorm1d(CHANNELS), (CHANNELS, 5)),
    "dropout of nothing": (lambda: nn.Dropout(0.0), IMAGE),
    "nested": (Nested, IMAGE),
    "one activation in two places": (lambda: SharedActivation(), IMAGE),
}


def networks(make: Callable[[], nn.Module], count: int = N) -> list[nn.Module]:
    """Networks that differ in every parameter, also in those that begin as ones or zeros."""
    made = [make() for _ in range(count)]
    generator = torch.Generator().manual_seed(1)
    for parameter in (p for network in made for p in network.parameters()):
        parameter.data += torch.randn(parameter.shape, generator=generator)
    return made


def images(shape: Sequence[int], count: int = N) -> Tensor:
    """Images of different mean and contrast, so that statistics over the batch are not those of an image."""
    x = torch.randn(count, *shape, generator=torch.Generator().manual_seed(2))
    level = torch.arange(1.0, count + 1).reshape(-1, *[1] * len(shape))
    return (level * x + level).requires_grad_()


def weighted_sum(y: Tensor) -> Tensor:
    """A scalar whose gradient differs at every value and does not depend on the batch."""
    weight = torch.randn(y.shape[1:], generator=torch.Generator().manual_seed(3))
    return (weight * y).sum()


def assert_same_sums(found: Tensor, expected: Tensor, moved: Tensor, what: str = "") -> None:
    """The longest chains are those of a kernel, 9 x 6 or 15 x 4 products, and of its gradient, 64 pixels.

    An ulp of inputs and weights (``moved``) says how much of a sum cancels, and what a norm makes of its errors.
    """
    scale = max(1.0, float(expected.detach().abs().max()))
    growth = max(1.0, apart(moved, expected) / (scale * torch.finfo(expected.dtype).eps))
    assert_same_to_rounding(found, expected, operations=64, scale=scale, growth=growth, what=what)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.numerics
def test_stacked_layer_equals_separate_layers_in_values_and_gradients(layer):
    make, shape = LAYERS[layer]
    separate, x = networks(make), images(shape)
    stacked = stack(separate)

    y = stacked(x)
    weighted_sum(y).backward()

    for i, network in enumerate(separate):
        x_i = x[i : i + 1].detach().requires_grad_()
        y_i = network(x_i)
        weighted_sum(y_i).backward()
        own = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
        expected = {"y": y_i.detach(), "x": x_i.grad} | own
        found = {"y": y[i : i + 1].detach(), "x": x.grad[i : i + 1]}
        found |= {name: parameter.grad[i] for name, parameter in stacked.named_parameters()}

        network.zero_grad()
        moved_x = nudged(x_i).requires_grad_()
        moved_y = nudge(network)(moved_x)
        weighted_sum(moved_y).backward()
        moved = {"y": moved_y, "x": moved_x.grad} | {name: p.grad for name, p in network.named_parameters()}
        for name in found:
            assert_same_sums(found[name], expected[name], moved[name], name)
    assert {name for name, _ in stacked.named_parameters()} == {name for name, _ in separate[0].named_parameters()}


@pytest.mark.numerics
def test_one_network_stacks():
    (network,), x = networks(Nested, 1), images(IMAGE, 1)
    found, expected = stack([network])(x), network(x)
    assert_same_sums(found, expected, nudge(network)(nudged(x)))


def test_each_image_meets_its_own_weights():
    separate, x = networks(Nested), images(IMAGE)
    before = stack(separate)(x)
    for parameter in separate[1].parameters():
        parameter.data += 1
    changed = (stack(separate)(x) != before).flatten(1).any(1)
    assert changed.tolist() == [False, True, False]


def test_stack_leaves_the_networks_alone():
    separate = networks(Nested)
    before = [{name: value.clone() for name, value in network.state_dict().items()} for network in separate]
    stacked = stack(separate)
    weighted_sum(stacked(images(IMAGE))).backward()
    torch.optim.SGD(stacked.parameters(), lr=1.0).step()
    for network, state in zip(separate, before, strict=True):
        assert all(parameter.grad is None for parameter in network.parameters())
        for name, value in network.state_dict().items():
            assert torch.equal(value, state[name])


class Scale(nn.Module):
    """A layer with a parameter of its own that stacking does not know."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[:, None, None]


@pytest.mark.parametrize("layer", [Scale, lambda: nn.ConvTranspose2d(CHANNELS, 2, 2), nn.PReLU])
def test_unsupported_layer_is_named(layer):
    name = type(layer()).__name__
    message = (
        rf"layer 1\.0 \({name}\) has state of its own \(.*\) and no stacked twin: build it from "
        rf"Conv2d, BatchNorm2d, InstanceNorm2d, GroupNorm, Linear.* and layers without state, .*register\({name}\)"
    )
    with pytest.raises(InputError, match=message):
        stack(networks(lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Sequential(layer()))))


@pytest.mark.numerics
def test_registered_layer_stacks():
    class Shift(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(CHANNELS))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.shift[:, None, None]

    @stack_layer.register(Shift)
    class StackedShift(nn.Module):
        def __init__(self, first: Shift, layers: Sequence[nn.Module]):
            super().__init__()
            self.shift = nn.Parameter(torch.stack([layer.shift.detach() for layer in layers]))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.shift[:, :, None, None]

    separate, x = networks(lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), Shift())), images(IMAGE)
    expected = torch.cat([network(x[i : i + 1]) for i, network in enumerate(separate)])
    found = stack(separate)(x)
    moved = torch.cat([nudge(network)(nudged(x[i : i + 1])) for i, network in enumerate(separate)])
    assert_same_sums(found, expected, moved)


class SharedLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = self.second = nn.Conv2d(3, 3, 1)


class OwnBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("code", torch.randn(3, 1, 1))


class ScaledConv(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


class StandardisedConv(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight / weight.std(), bias)


class OwnTensor(nn.Module):
    def __init__(self):
        super().__init__()
        self.code = torch.randn(3, 1, 1)


def tied():
    block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    block[1].weight = block[0].weight
    return block


def hooked():
    layer = nn.Conv2d(3, 3, 1)
    layer.register_forward_hook(lambda module, args, output: 2 * output)
    return layer


def old_weight_norm():
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        return torch.nn.utils.weight_norm(nn.Conv2d(3, 3, 1))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (SharedLayer, r"0\.first\.weight and 0\.second\.weight are one parameter.*give each its own"),
        (tied, r"0\.0\.weight and 0\.1\.weight are one parameter"),
        (OwnBuffer, r"layer 0 \(OwnBuffer\) has state of its own \(code\)"),
        (OwnTensor, r"layer 0 \(OwnTensor\) holds a tensor \(code\).*compute it in forward"),
        (lambda: ScaledConv(3, 3, 1), r"layer 0 \(ScaledConv\) has a forward of its own and no stacked twin"),
        (lambda: StandardisedConv(3, 3, 1), r"layer 0 \(StandardisedConv\) has a forward of its own"),
        (lambda: weight_norm(nn.Conv2d(3, 3, 1)), r"layer 0 \(ParametrizedConv2d\) is parametrised.*build it without"),
        (old_weight_norm, r"layer 0 \(Conv2d\) has hooks \(those of weight_norm, say\).*remove them"),
        (hooked, r"layer 0 \(Conv2d\) has hooks"),
        (lambda: nn.Dropout2d(0.1), r"layer 0 \(Dropout2d\) draws from the global generator.*leave it out"),
        (nn.RReLU, r"layer 0 \(RReLU\) draws from the global generator"),
        (lambda: nn.BatchNorm1d(3, affine=False), r"layer 0 \(BatchNorm1d\) .*no stacked twin"),
        (
            lambda: nn.BatchNorm3d(3, affine=False, track_running_stats=False),
            r"layer 0 \(BatchNorm3d\) normalises over the batch",
        ),
    ],
)
def test_what_would_be_stacked_wrong_is_refused(layer, message):
    with pytest.raises(InputError, match=message):
        stack([nn.Sequential(layer()) for _ in range(N)])


def test_a_parameter_that_is_not_trained_is_not_trained_in_the_stack():
    def make():
        network = nn.Sequential(nn.Conv2d(CHANNELS, 6, 3), nn.Conv2d(6, 3, 1))
        network[0].weight.requires_grad_(False)
        return network

    trained = {name: parameter.requires_grad for name, parameter in stack(networks(make)).named_parameters()}
    assert trained == {"0.weight": False, "0.bias": True, "1.weight": True, "1.bias": True}


LAYERS_IN_PLACE = [
    "conv", "conv 1x1", "conv 1x1 without bias", "batch norm", "group norm", "group norm without affine",
    "instance norm", "linear on rows", "linear without bias",
]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS_IN_PLACE)
def test_an_activation_in_place_copies_nothing(layer):
    """On a view, autograd would clone the base and copy gradients (CopySlices)."""
    make, shape = LAYERS[layer]
    y = stack(networks(lambda: nn.Sequential(make(), nn.LeakyReLU(0.2, inplace=True))))(images(shape))
    assert not y._is_view() and "CopySlices" not in {type(node).__name__ for node in graph(y.grad_fn)}


@pytest.mark.parametrize("name", architectures())
def test_the_graph_of_a_dip_holds_no_copies(name):
    network, z = build(architectures()[name], ImageRng(range(2)), 16)
    assert "CopySlices" not in {type(node).__name__ for node in graph(network(z).square().sum().grad_fn)}


def graph(node):
    """Every node of an autograd graph."""
    found, waiting = {node}, [node]
    while waiting:
        for below, _ in waiting.pop().next_functions:
            if below is not None and below not in found:
                found.add(below)
                waiting.append(below)
    return found
