"""Two ways of being equal: bit for bit, or to rounding. The tolerance of the second is derived, never tried out.

**Bit for bit** holds between two calls that have the same shapes and run the same kernels on the same machine, because
they add the same numbers in the same order: a call made again, a run resumed from its state, a batch in which other
images have changed. There a single different bit is a fault.

**To rounding** is all that holds where the order of a sum may differ: another number of images in a batch, another
place in it, slices of a batch, another layout in memory, another library, another CPU. What two such sums differ by was
small on one CPU says nothing about the next, so a tolerance is made of four parts that do not depend on it::

    unit roundoff  x  operations  x  scale  x  growth

and a test says where it has each of them from. ``growth`` is 1 for a plain sum. Where results feed on each other
(layers, sampling steps, Adam) it is measured where the test runs, by :func:`growth_of`: the same computation from an
input that was moved by one ulp.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

UNIT = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}
"""Unit roundoff: the relative error of one rounded operation is at most this."""


def rounding(operations: int, scale: float = 1.0, growth: float = 1.0, dtype: torch.dtype = torch.float32) -> float:
    """What two orders of the same sum may differ by, and twice that, since both are rounded.

    A sum of n numbers is off by at most n u sum |x_i| (Higham 2002, Accuracy and Stability of Numerical Algorithms,
    section 4.2).

    Args:
        operations: additions in the longest chain.
        scale: the largest sum of absolute values; for results of a network, the largest value that it adds up.
        growth: what the rest of the computation makes of an error of one unit.
    """
    return 2 * UNIT[dtype] * operations * scale * growth


def assert_same_bits(ours: Tensor, theirs: Tensor, what: str = "") -> None:
    """For the same shapes, kernels and order of sums."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, (what, ours.shape, theirs.shape)
    differ = int((ours != theirs).sum())
    assert torch.equal(ours, theirs), f"{what} {differ} of {ours.numel()} values differ, by up to {apart(ours, theirs)}"


def assert_same_to_rounding(
    ours: Tensor, theirs: Tensor, *, operations: int, scale: float = 1.0, growth: float = 1.0, what: str = "",
    dtype: torch.dtype | None = None, beyond: float = 0.0,
) -> None:  # fmt: skip
    """For the same sums in another order; see :func:`rounding`.

    Args:
        beyond: what the two are known to differ by besides.
        dtype: of the coarser computation, where one of them works in a coarser one than its result has.
    """
    assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
    allowed, found = rounding(operations, scale, growth, dtype or ours.dtype) + beyond, apart(ours, theirs)
    assert found <= allowed, f"{what} differs by up to {found:.3g}, {found / allowed:.3g} times what rounding explains"


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference between two values in the same place; NaN is infinitely far from everything."""
    return (ours.double() - theirs.double()).abs().nan_to_num(torch.inf, torch.inf).max().item()


def nudged(x: Tensor, seed: int = 0) -> Tensor:
    """Every value moved by one ulp, up or down at random; a 0 stays, since its neighbour is no rounding error of it."""
    up = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    moved = torch.nextafter(x.detach(), torch.where(up, torch.inf, -torch.inf).to(x.dtype))
    return torch.where(x == 0, x, moved).detach()


def nudge(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network itself, with every parameter moved by one ulp."""
    with torch.no_grad():
        for i, parameter in enumerate(network.parameters()):
            parameter.copy_(nudged(parameter, seed + i))
    return network


def growth_of(compute: Callable[[Tensor], Tensor], x: Tensor, scale: float = 1.0, seeds: Sequence[int] = range(3)):
    """By how many times a change of ``x`` by one ulp has grown at the end of a computation; at least 1.

    A change of every value by one ulp (up to 2 u of it) is what rounding does to a result that is stored. It stands
    for the errors of each operation on the way, of which a test says the number as ``operations``.
    """
    end = compute(x)
    furthest = max(apart(compute(nudged(x, seed)), end) for seed in seeds)
    return max(1.0, furthest / (2 * UNIT[end.dtype] * scale))
