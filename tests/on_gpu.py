"""What the tests that need a GPU share.

They run where there is one and are skipped with a reason elsewhere. ``DIPDDPM_TEST_DEVICE=cpu`` lets those that compare
two devices compare the CPU with itself, to see that the tests themselves run; what needs CUDA is skipped then, too.
"""

import os
from collections.abc import Callable

import pytest
import torch
from numerics import apart, nudged, rounding
from torch import Tensor

DEVICE = torch.device(os.environ.get("DIPDDPM_TEST_DEVICE", "cuda"))
HERE = DEVICE.type == "cpu" or torch.cuda.is_available()

needs_device = [
    pytest.mark.gpu,
    pytest.mark.skipif(not HERE, reason="no CUDA device"),
    pytest.mark.usefixtures("same_kernels"),
]
needs_cuda = [*needs_device, pytest.mark.skipif(DEVICE.type != "cuda", reason="measures what CUDA alone has")]

PRODUCTS = 9 * 256
"""Products in the longest sum of a network here: a 3 x 3 convolution over 256 channels."""


def assert_alike(
    compute: Callable[[Tensor], Tensor], x: Tensor, *, operations: int, at_most: float, scale: float = 1.0,
    what: str = "",
) -> None:  # fmt: skip
    """``compute`` gives the same on the GPU as on the CPU, to rounding; see :mod:`numerics`.

    Args:
        compute: of ``x`` on the device of ``x``.
        operations: additions in its longest sum.
        scale: the largest sum of absolute values.
        at_most: what may differ in any case, so that a growth that was measured too large hides no error.
    """
    here, there = compute(x), compute(x.to(DEVICE))
    assert there.device.type == DEVICE.type, f"{what} left the device"
    moved = max(apart(compute(nudged(x, seed)), here) for seed in range(2))
    growth = max(1.0, moved / rounding(1, scale))
    allowed, found = min(at_most, rounding(operations, scale, growth)), apart(there.cpu(), here)
    assert found <= allowed, f"{what} differs by up to {found:.3g}, allowed {allowed:.3g} (growth {growth:.3g})"
