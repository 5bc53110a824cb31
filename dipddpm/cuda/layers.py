"""The layers of stacked networks on CUDA: which way of computing them is the fastest, and how it is done.

Nothing is chosen by a timing at run time, so that equal commands give equal numbers, and nothing adds by atomics, so
that they give them twice. The choice follows from what was measured on one NVIDIA H100 80GB HBM3 (torch 2.11, 256
images, milliseconds of a 3x3 convolution forward and backward; ``pytest bench -k fit_speed`` measures it again):

=============================  ======================  ======================  ======================
channels, pixels of a side     fp32                    tf32                    bf16
                               grouped/window/implicit grouped/window/implicit grouped/window/implicit
=============================  ======================  ======================  ======================
68 to 64, 32                   11.2 / 3.2 / 11.4       8.1 / 2.4 / 3.6         24.3 / 2.2 / 3.1
64 to 64, 16                   9.6 / 1.0 / 2.2         0.8 / 0.8 / 0.7         18.6 / 0.6 / 0.9
64 to 64, 16, stride 2         4.4 / 0.6 / 1.2         0.6 / 0.5 / 0.6         12.4 / 0.5 / 0.5
64 to 64, 8                    6.4 / 0.4 / 0.9         0.5 / 0.7 / 0.3         11.8 / 0.5 / 0.4
128 to 128, 16                 10.4 / 2.3 / 7.9        1.4 / 1.5 / 4.0         16.3 / 1.1 / 1.8
an iteration of skip           84 / 11.6 /             17.3 / 10.0 / 9.9       47.5 /  / 9.4
its peak memory, GiB           2.5 / 3.5 /             2.5 / 3.5 / 2.2         2.0 /  / 1.8
=============================  ======================  ======================  ======================

"grouped" is a grouped convolution of cuDNN, "window" a product with the unfolded input, "implicit" the kernels of
:mod:`dipddpm.cuda.convolution`. Since then the gradient of the input is computed the other way about: gradients in the
first row, tf32, take 1.3 ms where they took 2.6. No other cell was measured again.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

WAYS = {"bf16": "implicit", "tf32": "implicit", "fp32": "window"}
"""The way to convolve, by the arithmetic of the products."""
WIDE, WIDE_WAYS = 128, {"bf16": "window", "tf32": "grouped", "fp32": "window"}
"""The way from so many channels to so many."""


@cache
def compiles() -> bool:
    """Whether kernels can be compiled: triton comes with torch for Linux."""
    return find_spec("triton") is not None


def serve(x: Tensor) -> bool:
    """Whether the layers here are for such a tensor."""
    return x.is_cuda and compiles()


def arithmetic(x: Tensor) -> str:
    """How products of ``x`` are computed: "bf16" under autocast, else "tf32" where torch allows it, or "fp32"."""
    if torch.is_autocast_enabled("cuda") or x.dtype == torch.bfloat16:
        return "bf16"
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "fp32"


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """Image i convolved with ``weight[i]``, zeros around it.

    Args:
        x: (N, C_in, H, W). weight: (N, C_out, C_in, K, K). bias: (N, C_out).
    """
    products = arithmetic(x)
    if products == "bf16":
        x = x.to(torch.bfloat16)
    way = (WIDE_WAYS if min(weight.shape[1:3]) >= WIDE else WAYS)[products]
    if way == "implicit":
        from dipddpm.cuda.convolution import stacked_conv2d

        return stacked_conv2d(x, weight, bias, stride, padding, "tf32" if products == "tf32" else "ieee")
    compute = _window if way == "window" else _grouped
    return compute(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), stride, padding)


def _grouped(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """By one convolution with a group per image."""
    n, folded = len(x), x.flatten(0, 1)[None]
    y = F.conv2d(folded, weight.flatten(0, 1), None if bias is None else bias.flatten(), stride, padding, groups=n)
    return y.reshape(n, -1, *y.shape[2:])


def _window(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """By one matrix product per image with the unfolded input, which is copied once for each tap of the kernel."""
    n, c_out, _, k, _ = weight.shape
    if padding:
        x = F.pad(x, (padding,) * 4)
    windows = x.unfold(2, k, stride).unfold(3, k, stride)
    h, w = windows.shape[2:4]
    columns = windows.permute(0, 1, 4, 5, 2, 3).reshape(n, -1, h * w)
    y = torch.bmm(weight.reshape(n, c_out, -1), columns)
    y = y if bias is None else y + bias[:, :, None]
    return y.view(n, c_out, h, w)


def norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor | None:
    """Each channel of each image normalised over its pixels; None where there are too many for a kernel."""
    from dipddpm.cuda.norm import MOST, stacked_norm

    return stacked_norm(x, weight, bias, eps) if x.shape[2] * x.shape[3] <= MOST else None


def reflection_pad(x: Tensor, border: list[int]) -> Tensor:
    """``F.pad(x, border, mode="reflect")``, whose gradient torch adds by atomics, in no fixed order."""
    return _ReflectionPad.apply(x, border)


class _ReflectionPad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, border: list[int]) -> Tensor:
        ctx.border = border
        return F.pad(x, border, mode="reflect")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        left, right, top, bottom = ctx.border
        return _folded(_folded(grad, 2, top, bottom), 3, left, right), None


def _folded(grad: Tensor, dim: int, before: int, after: int) -> Tensor:
    """The gradient of what was reflected at both ends of a dimension."""
    size = grad.shape[dim] - before - after
    inner = grad.narrow(dim, before, size).contiguous()
    if before:
        inner.narrow(dim, 1, before).add_(grad.narrow(dim, 0, before).flip(dim))
    if after:
        inner.narrow(dim, size - 1 - after, after).add_(grad.narrow(dim, before + size, after).flip(dim))
    return inner
