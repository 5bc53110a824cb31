"""Many networks of one architecture as a single module: each image of a batch passes through its own weights.

``stack([net_0, ..., net_{N-1}])`` walks the networks in parallel and swaps every layer that has parameters for a twin
whose weights have a leading axis N. Image i of an (N, C, H, W) batch then meets the weights of network i, in one
grouped convolution or batched matrix product for all. Layers without parameters and the networks' own ``forward`` stay.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dipddpm.errors import InputError


def stack(networks: Sequence[nn.Module]) -> nn.Module:
    """One module that applies ``networks[i]`` to image i.

    Raises:
        InputError: a layer would mix images or share what each image must own: it has parameters or buffers and no
            stacked twin, overrides the ``forward`` of one that has, or stands in two places. The message says which.
    """
    names = [name for name, _ in networks[0].named_modules(remove_duplicate=False)]
    if len(names) != len(list(networks[0].modules())):
        raise InputError(f"{type(networks[0]).__name__} uses one layer in two places, which stacking would part")
    return _stack(networks)


def _stack(networks: Sequence[nn.Module]) -> nn.Module:
    first = networks[0]
    kind: type[nn.Module] = type(first)
    twin: Any = next((known for known in kind.__mro__[:-1] if known in stack_layer.registry), None)
    if twin and kind.forward is twin.forward:
        return stack_layer(first, networks)
    state = [name for name, _ in (*first.named_parameters(recurse=False), *first.named_buffers(recurse=False))]
    fault = (
        "has a forward of its own"
        if twin
        else f"has state of its own ({', '.join(state)})"
        if state
        else "normalises over the batch"
        if isinstance(first, nn.modules.batchnorm._NormBase)
        else ""
    )
    if fault:
        raise InputError(
            f"layer {kind.__name__} {fault} and no stacked twin: build it from the convolutions, norms and linear "
            f"layers of torch.nn, or register one with @dipddpm.stacking.stack_layer.register({kind.__name__})"
        )
    stacked = copy.copy(first)
    stacked._modules = {}
    for name, _ in first.named_children():
        stacked.add_module(name, _stack([network.get_submodule(name) for network in networks]))
    return stacked


@singledispatch
def stack_layer(first: nn.Module, layers: Sequence[nn.Module]) -> nn.Module:
    """The stacked twin of ``layers``, all of the type of ``first``. Extend it with ``stack_layer.register``."""
    raise NotImplementedError(type(first))


def _weight(layers: Sequence[nn.Module], name: str = "weight") -> nn.Parameter:
    return nn.Parameter(torch.stack([getattr(layer, name).detach() for layer in layers]))


def _if_any(layers: Sequence[nn.Module], name: str) -> nn.Parameter | None:
    return None if getattr(layers[0], name) is None else _weight(layers, name)


# floats in a register: convolution kernels of a CPU work on blocks of as many channels
SIMD = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8


class StackedConv2d(nn.Module):
    """N convolutions as one grouped convolution; 1x1 ones as one batched matrix product, which is faster on a CPU.

    On a CPU a number of input channels that is no multiple of a register misses the fast kernels, which costs more
    than the channels of zeros that round it up (68 -> 72, of 8: 1.4 times the speed).
    """

    def __init__(self, first: nn.Conv2d, layers: Sequence[nn.Module]):
        super().__init__()
        self.weight, self.bias = _weight(layers), _if_any(layers, "bias")
        self.stride, self.dilation, self.groups = first.stride, first.dilation, first.groups
        self.mode, self.border = first.padding_mode, first._reversed_padding_repeated_twice
        self.padding = first.padding if self.mode == "zeros" else 0
        self.pointwise = first.kernel_size == (1, 1) and first.stride == (1, 1) and first.groups == 1
        self.pointwise &= not any(self.border)
        channels = self.weight.shape[2]
        self.missing = -channels % SIMD if channels > 2 * SIMD and self.groups == 1 else 0

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        if self.pointwise:
            weight = self.weight.flatten(2)
            if self.bias is None:
                return torch.bmm(weight, x.flatten(2)).unflatten(2, (h, w))
            return torch.baddbmm(self.bias[:, :, None], weight, x.flatten(2)).unflatten(2, (h, w))
        if self.mode != "zeros":
            x = F.pad(x, self.border, mode=self.mode)
        weight = self.weight
        if self.missing and x.device.type == "cpu":
            x, weight = (F.pad(part, (0, 0, 0, 0, 0, self.missing)) for part in (x, weight))
        bias = None if self.bias is None else self.bias.flatten()
        folded, weight = x.flatten(0, 1)[None], weight.flatten(0, 1)
        y = F.conv2d(folded, weight, bias, self.stride, self.padding, self.dilation, n * self.groups)
        # a view and not y[0], whose gradient would be filled with zeros and copied
        return y.view(n, -1, *y.shape[2:])


class StackedBatchNorm2d(nn.Module):
    """Batch norm over a batch of one image each: statistics over the pixels of an image, affine of its own."""

    def __init__(self, first: nn.BatchNorm2d, layers: Sequence[nn.Module]):
        super().__init__()
        self.weight, self.bias, self.eps = _if_any(layers, "weight"), _if_any(layers, "bias"), first.eps

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.flatten()
        bias = None if self.bias is None else self.bias.flatten()
        folded = x.flatten(0, 1)[None]
        return F.batch_norm(folded, None, None, weight, bias, training=True, eps=self.eps).view(x.shape)


class StackedGroupNorm(nn.Module):
    """Group norm with an affine of its own for every image."""

    def __init__(self, first: nn.GroupNorm, layers: Sequence[nn.Module]):
        super().__init__()
        self.weight, self.bias = _if_any(layers, "weight"), _if_any(layers, "bias")
        self.groups, self.eps = first.num_groups, first.eps

    def forward(self, x: Tensor) -> Tensor:
        normed = F.group_norm(x, self.groups, eps=self.eps)
        if self.weight is None or self.bias is None:
            return normed
        return torch.addcmul(self.bias[:, :, None, None], normed, self.weight[:, :, None, None])


class StackedLinear(nn.Module):
    """N linear layers as one batched matrix product over (N, ..., features)."""

    def __init__(self, first: nn.Linear, layers: Sequence[nn.Module]):
        super().__init__()
        self.weight, self.bias = _weight(layers), _if_any(layers, "bias")

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(len(x), -1, x.shape[-1])
        y = torch.bmm(rows, self.weight.transpose(1, 2))
        y = y if self.bias is None else y + self.bias[:, None]
        return y.reshape(*x.shape[:-1], -1)


stack_layer.register(nn.Conv2d, StackedConv2d)
stack_layer.register(nn.BatchNorm2d, StackedBatchNorm2d)
stack_layer.register(nn.GroupNorm, StackedGroupNorm)
stack_layer.register(nn.Linear, StackedLinear)
