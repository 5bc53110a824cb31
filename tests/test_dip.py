"""What every Deep Image Prior architecture promises."""

from __future__ import annotations

import pytest
import torch
from numerics import assert_same_to_rounding
from torch import nn

from dipddpm import dip
from dipddpm.dip import (
    architecture_class,
    architectures,
    halvings,
    matched_width,
    parameter_count,
    upsample_bilinear,
    width_for,
)
from dipddpm.errors import InputError
from dipddpm.experiments.recipes import dip_flops
from dipddpm.rng import ImageRng

SIZE = 16  # smallest that every architecture is built for
SEEDS = [11, 22, 33]
every_architecture = pytest.mark.parametrize("name", architectures())


@every_architecture
@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("width", [None, 6])
def test_output_is_an_image_in_range(name, size, width):
    torch.manual_seed(0)
    network = architecture_class(name)(size=size, width=width)
    z = network.draw_z(ImageRng([1, 2]))
    assert z.shape == (2, *network.z_shape())
    assert z.min() >= 0 and z.max() <= 0.1
    image = network(100 * z)  # far outside of what a fit feeds it: the range must hold all the same
    assert image.shape == (2, 3, size, size)
    assert image.abs().max() <= 1
    assert image.std() > 0


@every_architecture
@pytest.mark.parametrize("size", [24, 40, 48, 64, 72, 88, 96, 104, 256])
def test_any_multiple_of_8_is_supported(name, size):
    with torch.device("meta"):
        network = architecture_class(name)(size=size)
        assert network(torch.empty(1, *network.z_shape())).shape == (1, 3, size, size)


def test_halvings_leave_a_whole_number_of_at_least_4():
    sizes = [8, 16, 24, 32, 36, 40, 48, 64, 72, 96, 256]
    assert [size >> halvings(size) for size in sizes] == [4, 4, 6, 4, 9, 5, 6, 4, 9, 6, 4]


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 2, 5, 7), (3, 1, 1, 9), (1, 2, 32, 8), (1, 1, 40, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.numerics
def test_upsampling_and_its_gradient_are_those_of_torch(shape, dtype):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype).requires_grad_()
    y = upsample_bilinear(x)
    expected = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    # 2 x 2 neighbours with weights that sum to 1
    assert_same_to_rounding(y, expected, operations=4, scale=x.abs().max().item())
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    ours, theirs = (torch.autograd.grad((weight * up).sum(), x)[0] for up in (y, expected))
    # each of up to 4 x 4 pixels gives a share, of which the largest sum to 4
    assert_same_to_rounding(ours, theirs, operations=16, scale=4 * weight.abs().max().item())
    assert not y._is_view()


def test_upsampling_can_be_fitted_after_inference():
    dip._doubling.cache_clear()
    with torch.inference_mode():
        upsample_bilinear(torch.zeros(1, 1, 4, 4))
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    upsample_bilinear(x).sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 4.0)) and not dip._doubling(4, x.dtype, x.device).requires_grad


@every_architecture
def test_gradient_reaches_every_parameter(name):
    torch.manual_seed(0)
    network = architecture_class(name)(size=SIZE)
    network(network.draw_z(ImageRng([1]))).square().mean().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        # a bias or scale that a following norm cancels has gradient 0 by design; a kernel never has
        assert parameter.ndim == 1 or parameter.grad.abs().max() > 0, parameter_name


@every_architecture
def test_network_carries_no_state_from_call_to_call(name):
    torch.manual_seed(0)
    network = architecture_class(name)(size=SIZE)
    z, other = network.draw_z(ImageRng([1])), network.draw_z(ImageRng([2]))
    first = network(z)
    network(other)
    assert torch.equal(network(z), first)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_deep_decoder_has_fewer_parameters_than_the_image_has_values(size):
    assert parameter_count(architecture_class("deep_decoder"), size) < 3 * size**2


def test_encoder_decoder_has_no_way_around_the_bottleneck():
    def depends_on_z_without_bottleneck(name: str) -> bool:
        torch.manual_seed(0)
        network = architecture_class(name)(size=SIZE)
        network.down[-1].register_forward_hook(lambda module, args, output: torch.zeros_like(output))
        one, other = (network(network.draw_z(ImageRng([seed]))) for seed in (1, 2))
        return not torch.equal(one, other)

    assert not depends_on_z_without_bottleneck("encoder_decoder")
    assert depends_on_z_without_bottleneck("skip")


def test_encoder_decoder_differs_from_skip_in_the_skips_alone():
    def shapes(name: str) -> dict[str, torch.Size]:
        return {key: p.shape for key, p in architecture_class(name)(size=32).named_parameters()}

    skip, without = shapes("skip"), shapes("encoder_decoder")
    assert {key for key in skip if not key.startswith("skip.")} == set(without)
    differ = {key for key in without if skip[key] != without[key]}
    assert {key.split(".")[0] for key in differ} == {"up"}  # only the layers that would read the skips


def test_unknown_architecture_lists_the_known():
    with pytest.raises(InputError) as error:
        architecture_class("skipp")
    assert "'skipp'" in str(error.value)
    assert all(name in str(error.value) for name in architectures())


# parameter and operation counts


def test_parameter_count_of_deep_decoder_is_known():
    # 4 blocks of (24 x 24 mixing, 24 scales, 24 shifts), then 24 x 3
    assert parameter_count(architecture_class("deep_decoder"), 32, width=24) == 4 * (24 * 24 + 2 * 24) + 24 * 3


@every_architecture
def test_parameter_count_is_that_of_the_network_and_draws_nothing(name):
    expected = sum(p.numel() for p in architecture_class(name)(size=SIZE, width=5).parameters())
    state = torch.get_rng_state()
    assert parameter_count(architecture_class(name), SIZE, width=5) == expected
    assert torch.equal(torch.get_rng_state(), state)


def flops(*network, **options):
    return dip_flops(*network, **options)["flops"]


def test_flops_of_deep_decoder_are_known():
    # mixing happens before upsampling, at 4, 8, 16 and 32 px; two operations a multiply-accumulate
    mixing = 24 * 24 * (4**2 + 8**2 + 16**2 + 32**2)
    assert flops(architecture_class("deep_decoder"), 32, width=24) == 2 * (mixing + 24 * 3 * 32**2)


@every_architecture
def test_flops_grow_with_size_and_width(name):
    at = architecture_class(name)
    assert 0 < flops(at, 16, width=8) < flops(at, 32, width=8) < flops(at, 32, width=16)


@every_architecture
def test_matched_width_meets_the_parameters_of_skip(name):
    target = parameter_count(architecture_class("skip"), 32)
    width = matched_width(architecture_class(name), 32, target)
    assert parameter_count(architecture_class(name), 32, width) == pytest.approx(target, rel=0.15)


@every_architecture
def test_matched_width_is_the_nearest(name):
    at = architecture_class(name)
    counts = {width: parameter_count(at, SIZE, width) for width in range(1, 7)}
    for target in (1, counts[4], counts[4] + 1, (counts[4] + counts[5]) // 2 + 1):
        nearest = min(abs(count - target) for count in counts.values())
        assert abs(counts[matched_width(at, SIZE, target)] - target) == nearest


def test_matched_width_needs_a_positive_target():
    with pytest.raises(InputError, match="got 0"):
        matched_width(architecture_class("skip"), SIZE, 0)


def test_matched_name_is_the_architecture_at_the_width_that_matches():
    assert architecture_class("unet:matched") is architecture_class("unet")
    assert width_for("unet", 32, "skip") is None
    target = parameter_count(architecture_class("skip"), 32)
    assert width_for("unet:matched", 32, "skip") == matched_width(architecture_class("unet"), 32, target)
