"""The kernels for CUDA against what torch computes on a CPU; run where triton interprets them (TRITON_INTERPRET=1)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.autograd import grad

from dipddpm.cuda import layers, philox
from dipddpm.cuda.convolution import by_tap, stacked_conv2d
from dipddpm.cuda.norm import stacked_norm
from dipddpm.dip import architecture_class
from dipddpm.networks import build
from dipddpm.rng import ImageRng, _philox
from dipddpm.stacking import StackedConv2d


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape))).requires_grad_()


def close(ours, theirs):
    """Sums of up to 600 products of numbers of size 1, in another order."""
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("positions", [[0, 0, 0], [0, 5, 2**40]])
def test_words_are_those_of_numpy(positions):
    seeds, positions = [3, 2**62 + 12345, 7], np.array(positions, np.int64)
    ours = philox.philox(seeds, positions, 300, torch.device("cpu"))
    assert torch.equal(ours, _philox(seeds, positions, 300))


@pytest.mark.parametrize(
    ("images", "c_in", "c_out", "px", "kernel", "stride", "padding"),
    [
        (2, 5, 7, 8, 3, 1, 1),
        (2, 20, 68, 9, 3, 2, 0),
        (1, 68, 3, 6, 3, 1, 0),
        (2, 4, 4, 8, 5, 2, 2),
        (3, 17, 5, 7, 1, 2, 0),
    ],
)
@pytest.mark.parametrize("ordered", [True, False])
def test_convolution(images, c_in, c_out, px, kernel, stride, padding, ordered):
    x, weight, bias = draw(images, c_in, px, px), draw(images, c_out, c_in, kernel, kernel), draw(images, c_out)
    ours = stacked_conv2d(x, by_tap(weight) if ordered else weight, bias, stride, padding, "ieee")
    expected = torch.cat([F.conv2d(x[i : i + 1], weight[i], bias[i], stride, padding) for i in range(images)])
    given = torch.randn_like(expected)
    close([ours, *grad(ours, (x, weight, bias), given)], [expected, *grad(expected, (x, weight, bias), given)])


@pytest.mark.parametrize("way", ["grouped", "window", "implicit"])
def test_ways_to_convolve(way, monkeypatch):
    monkeypatch.setitem(layers.WAYS, "fp32", way)
    x, weight, bias = draw(2, 6, 9, 9), draw(2, 4, 6, 3, 3), draw(2, 4)
    for stride, padding in ((1, 0), (2, 1)):
        ours = layers.convolution(x, weight, bias, stride, padding)
        expected = torch.cat([F.conv2d(x[i : i + 1], weight[i], bias[i], stride, padding) for i in range(2)])
        given = torch.randn_like(expected)
        close([ours, *grad(ours, (x, weight, bias), given)], [expected, *grad(expected, (x, weight, bias), given)])


@pytest.mark.parametrize("shape", [(2, 5, 4, 4), (3, 7, 10, 9), (1, 3, 32, 32)])
@pytest.mark.parametrize("affine", [True, False])
def test_norm(shape, affine):
    x = (3 * draw(*shape) + 1).detach().requires_grad_()
    weight, bias = (draw(*shape[:2]), draw(*shape[:2])) if affine else (None, None)
    flat = [None if part is None else part.flatten() for part in (weight, bias)]
    ours = stacked_norm(x, weight, bias, 1e-5)
    expected = F.batch_norm(x.flatten(0, 1)[None], None, None, *flat, training=True, eps=1e-5).view(shape)
    given, inputs = torch.randn(shape), (x, weight, bias) if affine else (x,)
    close([ours, *grad(ours, inputs, given)], [expected, *grad(expected, inputs, given)])


@pytest.mark.parametrize("border", [[1, 1, 1, 1], [2, 0, 1, 3], [0, 0, 0, 0]])
def test_reflection(border):
    x = draw(2, 3, 5, 6)
    ours, expected = layers.reflection_pad(x, border), F.pad(x, border, mode="reflect")
    given = torch.randn_like(expected)
    close([ours, *grad(ours, x, given)], [expected, *grad(expected, x, given)])


@pytest.mark.parametrize("name", ["skip", "conv_decoder"])
def test_a_whole_network(name, monkeypatch):
    """Its layers by the kernels, and by what a CPU does."""
    network, z = build(architecture_class(name), ImageRng(range(2)), 8, 8)

    def run():
        image = network(z)
        weights = [module.weight for module in network.modules() if isinstance(module, StackedConv2d)]
        return [image, *grad(image.square().sum(), weights)]

    expected = run()
    for module in network.modules():
        if isinstance(module, StackedConv2d):
            module.order_for_cuda()
    monkeypatch.setattr(layers, "serve", lambda x: True)
    monkeypatch.setitem(layers.WAYS, "fp32", "implicit")
    close(run(), expected)
