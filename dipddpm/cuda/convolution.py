"""Convolutions with weights of their own for every image, on CUDA: products on the tensor cores, nothing unfolded.

A grouped convolution with one group per image is what a library offers, and cuDNN is slow at it. Here each output is
the sum over the taps of the kernel of one matrix product per image (implicit GEMM), read straight from the input: a
tile of positions and channels is loaded, shifted by the tap, and multiplied by the tap's weights. The gradients of the
input and of the weights are sums of the same kind. Float32 tensors are multiplied in TF32 or, with
``precision="ieee"``, in float32; bfloat16 ones in bfloat16. All sums are float32.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

# Positions, output channels and input channels of a tile.
FORWARD = {"BP": 64, "BO": 64, "BI": 32, "num_warps": 4, "num_stages": 3}
TO_INPUT = {"BP": 128, "BO": 32, "BI": 64, "num_warps": 8, "num_stages": 3}
TO_WEIGHT = {"BP": 64, "BO": 64, "BI": 64, "num_warps": 8, "num_stages": 3}
LEAST = 16  # channels of a tile
SIZES = ["H", "W", "HO", "WO", "P", "first_i"]
"""Arguments that no kernel is compiled anew for: a kernel takes half a second or more, and a network has many sizes."""


def stacked_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0, precision: str = "tf32"
) -> Tensor:
    """Image i convolved with ``weight[i]``; zeros around it.

    Args:
        x: (N, C_in, H, W). weight: (N, C_out, C_in, K, K); not copied if :func:`by_tap` made it. bias: (N, C_out).
        precision: of products of float32: "tf32" or "ieee".

    Returns:
        (N, C_out, H', W').
    """
    return _StackedConv2d.apply(x, weight, bias, stride, padding, precision)


class _StackedConv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, precision: str
    ) -> Tensor:
        x, weight = x.contiguous(), by_tap(weight)
        n, c_in, h, w = x.shape
        c_out, k = weight.shape[1], weight.shape[3]
        h_out, w_out = ((size + 2 * padding - k) // stride + 1 for size in (h, w))
        y = x.new_empty(n, c_out, h_out, w_out)
        ctx.save_for_backward(x, weight)
        ctx.sizes = c_in, c_out, h, w, h_out, w_out, padding
        ctx.fixed = {"K": k, "S": stride, "PRECISION": precision}
        ctx.has_bias = bias is not None

        grid = triton.cdiv(h_out * w_out, FORWARD["BP"]), triton.cdiv(c_out, FORWARD["BO"]), n
        _forward[grid](x, weight, bias, y, *ctx.sizes, HAS_BIAS=ctx.has_bias, **ctx.fixed, **FORWARD)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        c_in, c_out, h, w = ctx.sizes[:4]
        n, taps = len(x), ctx.fixed["K"] ** 2
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = torch.empty_like(x)
            for first, tiles, width in _parts(c_in, TO_INPUT["BI"]):
                grid = triton.cdiv(h * w, TO_INPUT["BP"]), tiles, n
                _to_input[grid](grad, weight, to_x, first, *ctx.sizes, **ctx.fixed, **TO_INPUT | {"BI": width})
        if ctx.needs_input_grad[1]:
            to_weight = torch.empty_like(weight)  # in the memory order of the weights
            for first, tiles, width in _parts(c_in, TO_WEIGHT["BI"]):
                grid = taps * tiles, triton.cdiv(c_out, TO_WEIGHT["BO"]), n
                _to_weight[grid](x, grad, to_weight, first, *ctx.sizes, **ctx.fixed, **TO_WEIGHT | {"BI": width})
        if ctx.has_bias and ctx.needs_input_grad[2]:
            to_bias = grad.sum((2, 3), dtype=torch.float32)
        return to_x, to_weight, to_bias, None, None, None


def _parts(channels: int, width: int) -> list[tuple[int, int, int]]:
    """Channels shared out over tiles: (first channel, tiles, channels of each); what is left over has smaller tiles.

    68 channels in two tiles of 64 would be twice the work of one."""
    whole, left = divmod(channels, width)
    parts = [(0, whole, width)] if whole else []
    narrow = max(LEAST, triton.next_power_of_2(left)) if left else 0
    return parts + ([(whole * width, 1, narrow)] if left else [])


def by_tap(weight: Tensor) -> Tensor:
    """The same weights (N, C_out, C_in, K, K), those of each tap next to each other in memory."""
    return weight.permute(0, 3, 4, 1, 2).contiguous().permute(0, 3, 4, 1, 2)


@triton.jit(do_not_specialize=SIZES)
def _forward(
    x, w, b, y, CI, CO, H, W, HO, WO, P,
    HAS_BIAS: tl.constexpr, K: tl.constexpr, S: tl.constexpr, PRECISION: tl.constexpr,
    BP: tl.constexpr, BO: tl.constexpr, BI: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(2).to(tl.int64)
    p = tl.program_id(0) * BP + tl.arange(0, BP)
    o = tl.program_id(1) * BO + tl.arange(0, BO)
    row, column = (p // WO) * S - P, (p % WO) * S - P
    total = tl.zeros((BO, BP), tl.float32)
    x += n * CI * H * W
    w += n * (K * K) * CO * CI
    blocks = tl.cdiv(CI, BI)
    for step in range(0, K * K * blocks):  # one loop for taps and channels: what is loaded next is known early
        tap, i = step // blocks, step % blocks * BI + tl.arange(0, BI)
        iy, ix = row + tap // K, column + tap % K
        inside = (p < HO * WO) & (iy >= 0) & (iy < H) & (ix >= 0) & (ix < W)
        xs = tl.load(
            x + i[:, None] * (H * W) + (iy * W + ix)[None, :], mask=(i < CI)[:, None] & inside[None, :], other=0.0
        )
        ws = tl.load(
            w + tap * CO * CI + o[:, None] * CI + i[None, :], mask=(o < CO)[:, None] & (i < CI)[None, :], other=0.0
        )
        total = tl.dot(ws.to(xs.dtype), xs, total, input_precision=PRECISION)
    if HAS_BIAS:
        total += tl.load(b + n * CO + o, mask=o < CO, other=0.0)[:, None].to(tl.float32)
    to = y + (n * CO + o[:, None]) * (HO * WO) + p[None, :]
    tl.store(to, total.to(y.dtype.element_ty), mask=(o < CO)[:, None] & (p < HO * WO)[None, :])


@triton.jit(do_not_specialize=SIZES)
def _to_input(
    dy, w, dx, first_i, CI, CO, H, W, HO, WO, P,
    K: tl.constexpr, S: tl.constexpr, PRECISION: tl.constexpr,
    BP: tl.constexpr, BO: tl.constexpr, BI: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(2).to(tl.int64)
    p = tl.program_id(0) * BP + tl.arange(0, BP)
    i = first_i + tl.program_id(1) * BI + tl.arange(0, BI)
    row, column = p // W + P, p % W + P
    total = tl.zeros((BP, BI), tl.float32)
    dy += n * CO * HO * WO
    w += n * (K * K) * CO * CI
    blocks = tl.cdiv(CO, BO)
    for step in range(0, K * K * blocks):
        tap, o = step // blocks, step % blocks * BO + tl.arange(0, BO)
        ty, tx = row - tap // K, column - tap % K
        oy, ox = ty // S, tx // S
        inside = (p < H * W) & (ty >= 0) & (tx >= 0) & (oy < HO) & (ox < WO) & (oy * S == ty) & (ox * S == tx)
        gs = tl.load(
            dy + o[None, :] * (HO * WO) + (oy * WO + ox)[:, None], mask=(o < CO)[None, :] & inside[:, None], other=0.0
        )
        ws = tl.load(
            w + tap * CO * CI + o[:, None] * CI + i[None, :], mask=(i < CI)[None, :] & (o < CO)[:, None], other=0.0
        )
        total = tl.dot(gs, ws.to(gs.dtype), total, input_precision=PRECISION)
    to = dx + (n * CI + i[None, :]) * (H * W) + p[:, None]
    tl.store(to, total.to(dx.dtype.element_ty), mask=(i < CI)[None, :] & (p < H * W)[:, None])


@triton.jit(do_not_specialize=SIZES)
def _to_weight(
    x, dy, dw, first_i, CI, CO, H, W, HO, WO, P,
    K: tl.constexpr, S: tl.constexpr, PRECISION: tl.constexpr,
    BP: tl.constexpr, BO: tl.constexpr, BI: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(2).to(tl.int64)
    tap = tl.program_id(0) % (K * K)
    i = first_i + tl.program_id(0) // (K * K) * BI + tl.arange(0, BI)
    o = tl.program_id(1) * BO + tl.arange(0, BO)
    total = tl.zeros((BO, BI), tl.float32)
    x += n * CI * H * W
    dy += n * CO * HO * WO
    for first in range(0, HO * WO, BP):
        p = first + tl.arange(0, BP)
        iy, ix = (p // WO) * S - P + tap // K, (p % WO) * S - P + tap % K
        inside = (p < HO * WO) & (iy >= 0) & (iy < H) & (ix >= 0) & (ix < W)
        gs = tl.load(
            dy + o[:, None] * (HO * WO) + p[None, :], mask=(o < CO)[:, None] & (p < HO * WO)[None, :], other=0.0
        )
        xs = tl.load(
            x + (iy * W + ix)[:, None] + i[None, :] * (H * W), mask=inside[:, None] & (i < CI)[None, :], other=0.0
        )
        total = tl.dot(gs, xs.to(gs.dtype), total, input_precision=PRECISION)
    to = dw + (n * (K * K) + tap) * CO * CI + o[:, None] * CI + i[None, :]
    tl.store(to, total.to(dw.dtype.element_ty), mask=(o < CO)[:, None] & (i < CI)[None, :])
