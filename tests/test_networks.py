"""Networks that are built once and drawn for all images are those that would be built one by one."""

import pytest
import torch
from torch import nn

from dipddpm.dip import DeepImagePrior, architecture_class, architectures
from dipddpm.networks import _watched, build, network_of
from dipddpm.rng import ImageRng


class Drawn(DeepImagePrior):
    """Two layers that torch fills."""

    name, source = "drawn", "this test"

    def __init__(self, size=8, width=None):
        super().__init__(size, width)
        self.first, self.norm, self.last = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1)

    def z_shape(self):
        return 2, self.size, self.size

    def layers(self, z):
        return self.last(self.norm(self.first(z)))


class Changed(Drawn):
    """Changes a weight after it was drawn."""

    def __init__(self, size=8, width=None):
        super().__init__(size, width)
        with torch.no_grad():
            self.first.weight.mul_(2)


class FromElsewhere(Drawn):
    """Copies a weight from numbers that are no parameter."""

    def __init__(self, size=8, width=None):
        super().__init__(size, width)
        self.last.weight = nn.Parameter(torch.randn(3, 4, 1, 1))


class Orthogonal(Drawn):
    """Draws numbers of which it makes a weight."""

    def __init__(self, size=8, width=None):
        super().__init__(size, width)
        nn.init.orthogonal_(self.first.weight)


def weights(stacked, i):
    return [parameter[i] for parameter in stacked.parameters()]


@pytest.mark.parametrize("name", sorted(architectures()))
def test_a_network_of_the_batch_is_the_network_of_its_image(name):
    kind, seeds = architecture_class(name), [5, 9, 2**62]
    assert _watched(lambda: kind(size=16))[1], "its weights are drawn one network after the other"
    stacked, z = build(kind, ImageRng(seeds), 16)
    for i, seed in enumerate(seeds):
        alone, z_alone = network_of(kind, seed, 16)
        assert torch.equal(z[i], z_alone[0])
        for ours, theirs in zip(weights(stacked, i), alone.parameters(), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", sorted(architectures()))
def test_weights_are_distributed_as_the_constructor_draws_them(name):
    """Each parameter has the mean and deviation over 20 networks of one that torch filled itself, to six errors."""
    kind = architecture_class(name)
    stacked, _ = build(kind, ImageRng(range(20)), 16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        filled = [kind(size=16) for _ in range(20)]
    for ours, *theirs in zip(stacked.parameters(), *(network.parameters() for network in filled), strict=True):
        ours, theirs = ours.detach().double(), torch.stack(theirs).detach().double()
        if theirs.std() == 0:
            assert torch.equal(ours, theirs)
            continue
        error = 6 * theirs.std() * (2 / theirs.numel()) ** 0.5
        assert abs(ours.mean() - theirs.mean()) < error and abs(ours.std() - theirs.std()) < error
        assert ours.abs().max() <= 1.01 * theirs.abs().max() or ours.numel() < 2000


@pytest.mark.parametrize("kind", [Changed, FromElsewhere, Orthogonal])
def test_a_constructor_that_does_more_than_fill_is_called_for_each_image(kind):
    assert _watched(Drawn)[1] and _watched(kind)[1] is None
    stacked, z = build(kind, ImageRng([3, 4]), 8)
    for i, seed in enumerate((3, 4)):
        torch.manual_seed(seed)
        expected = kind(size=8)
        for ours, theirs in zip(weights(stacked, i), expected.parameters(), strict=True):
            assert torch.equal(ours, theirs)
        assert torch.equal(z[i], network_of(kind, seed, 8)[1][0])


def test_building_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    for kind in (Drawn, Changed):
        build(kind, ImageRng([3]), 8)
        assert torch.equal(torch.get_rng_state(), state)
