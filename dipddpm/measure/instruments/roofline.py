"""The highest rate that a machine reaches on large convolutions and matrix products: the limit of any other work."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F

from dipddpm.measure.instruments.timer import each

QUEUED = 256  # executions on a GPU that are queued at most before the device is waited for


def repeated(
    work: Callable[[], object],
    seconds: float = 0.5,
    least: int = 3,
    warmup: int = 1,
    device: torch.device | str = "cpu",
) -> list[float]:
    """Seconds of each of several executions: at least ``least`` of them and at least ``seconds`` in all.

    Args:
        warmup: executions before them that are not timed.
        device: whose clock times them, see :func:`dipddpm.measure.instruments.timer.each`. On a GPU so many executions
            are queued as were timed before, so that the device is waited for a few times and not for each of them.
    """
    for _ in range(warmup):
        work()
    gpu = torch.device(device).type == "cuda"
    times: list[float] = []
    while len(times) < least or sum(times) < seconds:
        times += each(work, min(max(1, len(times)), QUEUED) if gpu else 1, device)
    return times


def convolution_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a 3x3 convolution that is big enough to be limited by arithmetic, with TF32 as it is switched now.

    The fastest of several executions counts, because a limit is the best that the machine did. A multiply-add counts as
    two operations, as everywhere here.
    """
    return _convolution_rate(device, dtype, torch.backends.cudnn.allow_tf32)


@cache
def _convolution_rate(device: str, dtype: torch.dtype, tf32: bool) -> float:
    images, channels, px = (256, 256, 64) if torch.device(device).type == "cuda" else (16, 64, 32)
    x = torch.randn(images, channels, px, px, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    w = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        seconds = min(repeated(lambda: F.conv2d(x, w, padding=1), 0.3, device=device))
    return 2 * images * px**2 * 9 * channels**2 / seconds


def product_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, measured in the same way."""
    return _product_rate(device, dtype, torch.backends.cuda.matmul.allow_tf32)


@cache
def _product_rate(device: str, dtype: torch.dtype, tf32: bool) -> float:
    side = 8192 if torch.device(device).type == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=dtype)
    with torch.inference_mode():
        return 2 * side**3 / min(repeated(lambda: a @ a, 0.3, device=device))


def peak_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of the faster of the two."""
    return max(product_rate(device, dtype), convolution_rate(device, dtype))
