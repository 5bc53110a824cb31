"""Norms over the pixels of each channel of each image, on CUDA: one pass forward, one backward.

cuDNN's batch norm gives every channel a block of 512 threads. Of 256 networks with 64 channels there are 16,384, of
which many have 16 pixels. Here a program takes as many channels as make it worth its threads. All sums are float32.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

MOST = 16_384
"""Pixels of a channel that a program can hold at once."""
TILE = 4096  # values that a program takes at least, where there are so many


def stacked_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Each channel of each image less its mean, over its deviation, with an affine of its own.

    Args:
        x: (N, C, H, W) of at most ``MOST`` pixels. weight, bias: (N, C).
    """
    return _Norm.apply(x, weight, bias, eps)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        x = x.contiguous()
        y = torch.empty_like(x)
        rows, pixels = x.shape[0] * x.shape[1], x.shape[2] * x.shape[3]
        mean, over_deviation = x.new_empty(2, rows, dtype=torch.float32)
        ctx.save_for_backward(x, weight, mean, over_deviation)
        ctx.has_bias = bias is not None
        ctx.tile = _tile(pixels)
        grid = (triton.cdiv(rows, ctx.tile["ROWS"]),)
        _forward[grid](
            x, weight, bias, y, mean, over_deviation, rows, pixels, eps,
            HAS_WEIGHT=weight is not None, HAS_BIAS=ctx.has_bias, **ctx.tile,
        )  # fmt: skip
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, over_deviation = ctx.saved_tensors
        grad, to_x = grad.contiguous(), torch.empty_like(x)
        rows, pixels = x.shape[0] * x.shape[1], x.shape[2] * x.shape[3]
        to_weight, to_bias = x.new_empty(2, *x.shape[:2], dtype=torch.float32)
        grid = (triton.cdiv(rows, ctx.tile["ROWS"]),)
        _backward[grid](
            x, weight, grad, to_x, to_weight, to_bias, mean, over_deviation, rows, pixels,
            HAS_WEIGHT=weight is not None, **ctx.tile,
        )  # fmt: skip
        return to_x, None if weight is None else to_weight, to_bias if ctx.has_bias else None, None


def _tile(pixels: int) -> dict[str, int]:
    """Channels and pixels of a program, and its warps."""
    width = triton.next_power_of_2(pixels)
    rows = max(1, TILE // width)
    return {"ROWS": rows, "WIDTH": width, "num_warps": min(16, max(4, rows * width // 1024))}


@triton.jit
def _tile_of(rows, pixels, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Channels of this program and which of them exist; where their pixels lie and which of these exist."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, WIDTH)
    there = row < rows
    inside = there[:, None] & (column < pixels)[None, :]
    at = row.to(tl.int64)[:, None] * pixels + column[None, :]
    return row, there, at, inside


@triton.jit(do_not_specialize=["rows"])
def _forward(
    x, weight, bias, y, mean, over_deviation, rows, pixels, eps,
    HAS_WEIGHT: tl.constexpr, HAS_BIAS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    row, there, at, inside = _tile_of(rows, pixels, ROWS, WIDTH)
    values = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    middle = tl.sum(values, 1) / pixels
    centred = tl.where(inside, values - middle[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / pixels + eps)
    tl.store(mean + row, middle, mask=there)
    tl.store(over_deviation + row, scale, mask=there)
    result = centred * scale[:, None]
    if HAS_WEIGHT:
        result *= tl.load(weight + row, mask=there, other=0.0)[:, None]
    if HAS_BIAS:
        result += tl.load(bias + row, mask=there, other=0.0)[:, None]
    tl.store(y + at, result.to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def _backward(
    x, weight, dy, dx, dweight, dbias, mean, over_deviation, rows, pixels,
    HAS_WEIGHT: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    row, there, at, inside = _tile_of(rows, pixels, ROWS, WIDTH)
    values = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    grad = tl.load(dy + at, mask=inside, other=0.0).to(tl.float32)
    middle = tl.load(mean + row, mask=there, other=0.0)
    scale = tl.load(over_deviation + row, mask=there, other=0.0)
    normed = tl.where(inside, (values - middle[:, None]) * scale[:, None], 0.0)
    of_bias = tl.sum(grad, 1)
    of_weight = tl.sum(grad * normed, 1)
    tl.store(dweight + row, of_weight, mask=there)
    tl.store(dbias + row, of_bias, mask=there)
    if HAS_WEIGHT:
        scale *= tl.load(weight + row, mask=there, other=0.0)
    result = scale[:, None] * (grad - (of_bias / pixels)[:, None] - normed * (of_weight / pixels)[:, None])
    tl.store(dx + at, result.to(dx.dtype.element_ty), mask=inside)
