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
from dipddpm.fitting import fit_dip
from dipddpm.rng import ImageRng
from dipddpm.tasks import task

SIZE = 16  # smallest that every architecture is built for
SEEDS = [11, 22, 33]
every_architecture = pytest.mark.parametrize("name", architectures())
COORDINATES = {"siren", "skip_mesh"}  # whose z is a grid, the same for every image, and no noise


@every_architecture
@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("width", [None, 6])
def test_output_is_an_image_in_range(name, size, width):
    torch.manual_seed(0)
    network = architecture_class(name)(size=size, width=width)
    z = network.draw_z(ImageRng([1, 2]))
    assert z.shape == (2, *network.z_shape())
    if name in COORDINATES:
        assert torch.equal(z[0], z[1])
    else:
        assert z.min() >= 0 and z.max() <= 0.1
    image = network(100 * z)  # far outside of what a fit feeds it: the range must hold all the same
    assert image.shape == (2, 3, size, size)
    assert image.abs().max() <= 1
    assert image.std() > 0


@every_architecture
@pytest.mark.parametrize("size", [4, 5, 7, 9, 24, 30, 33, 40, 48, 50, 63, 64, 72, 88, 96, 104, 256])
def test_any_size_from_4_is_supported(name, size):
    with torch.device("meta"):
        network = architecture_class(name)(size=size)
        assert network(torch.empty(1, *network.z_shape())).shape == (1, 3, size, size)


@every_architecture
def test_an_odd_size_is_fitted(name):
    observation = task("inpaint").observe(torch.rand(2, 3, 33, 33) * 2 - 1, ImageRng([1, 2]))
    fit = fit_dip(architecture_class(name), observation, ImageRng([3, 4]), iterations=[2], size=33, width=4)
    assert fit.mu(2).shape == (2, 3, 33, 33) and bool(fit.mu(2).isfinite().all())


@every_architecture
@pytest.mark.parametrize("size", [0, 3])
def test_an_image_of_a_few_pixels_is_refused(name, size):
    with pytest.raises(InputError, match=f"a Deep Image Prior of {size} px: choose images of 4 px at least"):
        architecture_class(name)(size=size)


def test_halvings_leave_a_whole_number_of_at_least_4():
    sizes = [8, 16, 24, 32, 36, 40, 48, 64, 72, 96, 256]
    assert [size >> halvings(size) for size in sizes] == [4, 4, 6, 4, 9, 5, 6, 4, 9, 6, 4]
    assert [size >> halvings(size, 2) for size in sizes] == [2, 2, 3, 2, 9, 5, 3, 2, 9, 3, 2]


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


@pytest.mark.parametrize(("side", "size"), [(4, 7), (7, 10), (22, 32), (5, 6), (33, 47)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.numerics
def test_upsampling_to_a_size_is_that_of_torch(side, size, dtype):
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=dtype).requires_grad_()
    y = upsample_bilinear(x, size)
    expected = nn.functional.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    assert_same_to_rounding(y, expected, operations=4, scale=x.abs().max().item())
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    ours, theirs = (torch.autograd.grad((weight * up).sum(), x)[0] for up in (y, expected))
    assert_same_to_rounding(ours, theirs, operations=16, scale=4 * weight.abs().max().item())


def test_upsampling_can_be_fitted_after_inference():
    dip._stretching.cache_clear()
    with torch.inference_mode():
        upsample_bilinear(torch.zeros(1, 1, 4, 4))
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    upsample_bilinear(x).sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 4.0)) and not dip._stretching(4, 8, x.dtype, x.device).requires_grad


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


def test_the_mesh_grid_rises_from_left_to_right_and_from_top_to_bottom():
    mesh = architecture_class("skip_mesh")(size=16).draw_z(ImageRng([1, 2]))
    along = torch.arange(16) / 15
    torch.testing.assert_close(mesh[1, 0], along.expand(16, 16))
    torch.testing.assert_close(mesh[1, 1], along[:, None].expand(16, 16))
    torch.testing.assert_close(architecture_class("siren")(size=16).draw_z(ImageRng([1])), 2 * mesh[:1] - 1)


@every_architecture
def test_z_is_drawn_from_the_generator_of_its_image_or_not_at_all(name):
    rng = ImageRng([1, 2])
    z = architecture_class(name)(size=SIZE).draw_z(rng)
    assert (rng._drawn == (0 if name in COORDINATES else rng._drawn[0])).all() and rng._drawn.any() == (
        name not in COORDINATES
    )
    if name not in COORDINATES:
        assert torch.equal(z, 0.1 * ImageRng([1, 2]).rand(*z.shape[1:]))


def test_skip_mesh_differs_from_skip_in_its_input_alone():
    def shapes(name: str) -> dict[str, torch.Size]:
        return {key: p.shape for key, p in architecture_class(name)(size=32).named_parameters()}

    skip, mesh = shapes("skip"), shapes("skip_mesh")
    assert skip.keys() == mesh.keys()
    assert {key for key in skip if skip[key] != mesh[key]} == {"down.0.0.0.weight", "skip.0.0.weight"}


@pytest.mark.parametrize(("size", "scales"), [(8, 2), (16, 3), (32, 4), (40, 3), (64, 5), (96, 5), (256, 5)])
def test_skip_deep_goes_on_to_2_px_in_five_scales_at_most(size, scales):
    with torch.device("meta"):
        assert len(architecture_class("skip_deep")(size=size).down) == scales


def test_skip_deep_normalises_more_than_one_pixel_at_its_coarsest_scale():
    torch.manual_seed(0)
    network, coarsest = architecture_class("skip_deep")(size=32, width=4), []
    network.down[-1].register_forward_hook(lambda module, args, output: coarsest.append(output))
    network(network.draw_z(ImageRng([1])))
    assert coarsest[0].shape == (1, 4, 2, 2) and coarsest[0].flatten(2).std(2).min() > 0


@pytest.mark.parametrize(
    ("size", "sides"),
    [(32, [4, 7, 10, 14, 22, 32]), (256, [16, 28, 49, 85, 148, 256]), (512, [16, 32, 64, 128, 256, 512])],
)
def test_fixed_upsampling_enlarges_five_times_by_the_same_factor(size, sides):
    with torch.device("meta"):
        network = architecture_class("fixed_upsampling")(size=size)
    assert [network.start, *network.sides()] == sides


def test_fixed_upsampling_is_convolution_interpolation_relu_and_norm():
    """Against the layers of torch, one after the other."""
    torch.manual_seed(0)
    network = architecture_class("fixed_upsampling")(size=16, width=6)
    z = network.draw_z(ImageRng([1]))
    h = z
    for convolution, norm, side in zip(network.convolutions, network.norms, [6, 7, 10, 13, 16, 16], strict=True):
        h = convolution(h)
        if h.shape[-1] < side:
            h = nn.functional.interpolate(h, size=side, mode="bilinear", align_corners=False)
        h = norm(nn.functional.relu(h))
    torch.testing.assert_close(network.layers(z), network.head(h), rtol=1e-4, atol=1e-5)


def test_siren_begins_as_published():
    """First layer uniform within 1 / inputs, the others within sqrt(6 / inputs) / omega_0 (2006.09661, section 3.2)."""
    torch.manual_seed(0)
    network = architecture_class("siren")(size=32)
    for layer in (*network.sines, network.head):
        inputs = layer.in_channels
        bound = 1 / inputs if layer is network.sines[0] else (6 / inputs) ** 0.5 / network.omega_0
        largest = layer.weight.abs().max().item()
        # the largest of n uniform numbers is below (1 - 10 / n) of the bound with a probability of exp(-10)
        assert (1 - 10 / layer.weight.numel()) * bound < largest <= bound
    before = network.sines[1](torch.sin(network.omega_0 * network.sines[0](network.draw_z(ImageRng([1])))))
    # what goes into a sine has about a standard normal distribution there
    assert 0.7 < network.omega_0 * before.std() < 1.3


def test_siren_at_a_pixel_depends_on_its_coordinates_alone():
    torch.manual_seed(0)
    network = architecture_class("siren")(size=16)
    z = network.draw_z(ImageRng([1]))
    torch.testing.assert_close(network(z.flip(-1, -2)), network(z).flip(-1, -2))


def test_unknown_architecture_lists_the_known():
    with pytest.raises(InputError) as error:
        architecture_class("skipp")
    assert "'skipp'" in str(error.value)
    assert all(name in str(error.value) for name in architectures())


# parameter and operation counts


def test_parameter_count_of_deep_decoder_is_known():
    # 4 blocks of (24 x 24 mixing, 24 scales, 24 shifts), then 24 x 3
    assert parameter_count(architecture_class("deep_decoder"), 32, width=24) == 4 * (24 * 24 + 2 * 24) + 24 * 3


def test_parameter_counts_of_the_decoder_and_of_the_sines_are_known():
    # six blocks of (8 x 8 kernels of 9, 8 biases, 8 scales, 8 shifts), then 8 x 3 and 3 biases
    assert parameter_count(architecture_class("fixed_upsampling"), 32, width=8) == 6 * (576 + 3 * 8) + 8 * 3 + 3
    # from 2 coordinates, three layers between, to 3 colours, each with biases
    assert parameter_count(architecture_class("siren"), 32, width=8) == (16 + 8) + 3 * (64 + 8) + (24 + 3)


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
