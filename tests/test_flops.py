"""FLOPs are counted from shapes, so that a network need not exist in memory."""

import pytest
import torch
from torch import nn

from dipddpm.measure.instruments.flops import flops


def network():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))


BY_HAND = 2 * 2 * 16 * 16 * (8 * 3 * 9 + 4 * 8)  # two operations per multiply-add, two images of 16 x 16 pixels


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_network_without_memory_is_counted_alike(device):
    with torch.device(device), torch.no_grad():
        net, z = network(), torch.empty(2, 3, 16, 16)
        assert flops(lambda: net(z)) == BY_HAND
    with torch.device(device):
        net, z = network(), torch.empty(2, 3, 16, 16)
        forward_and_backward = flops(lambda: net(z).sum().backward())
    # Twice the forward pass for the gradients, less the gradient of the input, which nobody asked for.
    assert forward_and_backward == 3 * BY_HAND - 2 * 2 * 16 * 16 * 8 * 3 * 9


def test_products_grouped_and_transposed_convolutions_and_attention_are_counted_without_memory():
    with torch.device("meta"), torch.no_grad():
        grouped, transposed = nn.Conv2d(4, 8, 3, groups=2), nn.ConvTranspose2d(3, 8, 3, stride=2)
        x, q = torch.empty(1, 4, 8, 8), torch.empty(1, 2, 16, 8)
        assert flops(lambda: grouped(x)) == 2 * 8 * 6 * 6 * 2 * 9
        assert flops(lambda: transposed(torch.empty(2, 3, 16, 16))) == 2 * 2 * 16 * 16 * 3 * 8 * 9
        assert flops(lambda: torch.empty(5, 6) @ torch.empty(6, 7)) == 2 * 5 * 6 * 7
        attention = torch.nn.functional.scaled_dot_product_attention
        assert flops(lambda: attention(q, q, q)) == 2 * 2 * 2 * 16 * 16 * 8
