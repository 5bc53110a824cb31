"""The highest rate that a machine reaches on large convolutions and matrix products: the limit of any other work."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F

from dipddpm.measure.instruments.timer import synchronised


def repeated(work: Callable[[], object], seconds: float = 0.5, least: int = 3, warmup: int = 1) -> list[float]:
    """Seconds of each of several executions: at least ``least`` of them and at least ``seconds`` in all."""
    for _ in range(warmup):
        work()
    times: list[float] = []
    while len(times) < least or sum(times) < seconds:
        started = synchronised()
        work()
        times.append(synchronised() - started)
    return times


@cache
def convolution_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a 3x3 convolution that is big enough to be limited by arithmetic.

    The fastest of several executions counts, because a limit is the best that the machine did. A multiply-add counts as
    two operations, as everywhere here.
    """
    images, channels, px = (256, 256, 64) if torch.device(device).type == "cuda" else (16, 64, 32)
    x = torch.randn(images, channels, px, px, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    w = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        return 2 * images * px**2 * 9 * channels**2 / min(repeated(lambda: F.conv2d(x, w, padding=1), 0.3))


@cache
def product_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, measured in the same way."""
    side = 8192 if torch.device(device).type == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=dtype)
    with torch.inference_mode():
        return 2 * side**3 / min(repeated(lambda: a @ a, 0.3))


def peak_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of the faster of the two."""
    return max(product_rate(device, dtype), convolution_rate(device, dtype))
