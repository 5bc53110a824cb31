"""Many networks of one architecture as a single module: each image of a batch passes through its own weights.

``stack([net_0, ..., net_{N-1}])`` walks the networks in parallel and swaps every layer that has parameters for a twin
whose weights have a leading axis N. Image i of an (N, C, H, W) batch then meets the weights of network i, in one
grouped convolution or batched matrix product for all: what network i alone would give, to rounding. Layers without
parameters and the networks' own ``forward`` stay. A parameter that is not trained (``requires_grad=False``) is not
trained in the twin.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from dipddpm.cuda import layers as cuda_layers
from dipddpm.errors import InputError


def stack(networks: Sequence[nn.Module]) -> nn.Module:
    """One module that applies ``networks[i]`` to image i.

    Raises:
        InputError: a layer would mix images or share what each image must own, or a twin would not do what the layer
            does. The message says which layer, what is wrong with it and what to do.
    """
    places: dict[int, str] = {}
    for name, parameter in networks[0].named_parameters(remove_duplicate=False):
        first = places.setdefault(id(parameter), name)
        if first != name:
            raise InputError(f"{first} and {name} are one parameter, which stacking would part: give each its own")
    return _stack(networks, "")


def _stack(networks: Sequence[nn.Module], place: str) -> nn.Module:
    first = networks[0]
    kind: type[nn.Module] = type(first)
    twin: Any = next((known for known in kind.__mro__[:-1] if known in stack_layer.registry), None)
    fault = _fault(first, twin)
    if fault:
        raise InputError(f"layer {place} ({kind.__name__}) {fault}" if place else f"{kind.__name__} {fault}")
    if twin:
        return stack_layer(first, networks)
    stacked = copy.copy(first)
    stacked._modules = {}
    for name, child in first._modules.items():
        below: Any = [network._modules[name] for network in networks]
        stacked.add_module(name, None if child is None else _stack(below, f"{place}.{name}" if place else name))
    return stacked


def _fault(layer: nn.Module, twin: Any) -> str:
    """What keeps a layer from being stacked and what to do about it; nothing where nothing does."""
    kind = type(layer)
    supported = ", ".join(known.__name__ for known in stack_layer.registry if known is not object)
    no_twin = (
        f"and no stacked twin: build it from {supported} and layers without state, or register a twin with "
        f"@dipddpm.stacking.stack_layer.register({kind.__name__})"
    )
    if is_parametrized(layer):
        return "is parametrised, which no stacked twin would be: build it without"
    if twin:
        # the forward of Conv2d leaves the work to the second
        if any(getattr(kind, name, None) is not getattr(twin, name, None) for name in ("forward", "_conv_forward")):
            return f"has a forward of its own {no_twin}"
        hooked = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
        return "has hooks (those of weight_norm, say), which no stacked twin would run: remove them" if hooked else ""
    state = [name for name, _ in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))]
    if state:
        return f"has state of its own ({', '.join(state)}) {no_twin}"
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return f"normalises over the batch {no_twin}"
    tensors = [name for name, value in vars(layer).items() if isinstance(value, Tensor)]
    if tensors:
        return f"holds a tensor ({', '.join(tensors)}), of which all would get that of image 0: compute it in forward"
    if isinstance(layer, nn.RReLU) or (isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p):
        return "draws from the global generator, in snapshots too: leave it out"
    return ""


@singledispatch
def stack_layer(first: nn.Module, layers: Sequence[nn.Module]) -> nn.Module:
    """The stacked twin of ``layers``, all of the type of ``first``. Extend it with ``stack_layer.register``."""
    raise NotImplementedError(type(first))


def _weight(layers: Sequence[nn.Module], name: str = "weight") -> nn.Parameter:
    trained = getattr(layers[0], name).requires_grad
    return nn.Parameter(torch.stack([getattr(layer, name).detach() for layer in layers]), trained)


def _if_any(layers: Sequence[nn.Module], name: str) -> nn.Parameter | None:
    return None if getattr(layers[0], name) is None else _weight(layers, name)


def _shaped(fresh: Tensor, *shape: int) -> Tensor:
    """A result that nobody else holds, in another shape, and no view of it to autograd: an activation that works in
    place on a view makes autograd clone it, and copy the gradient of all of it back and forth."""
    return torch.ops.aten._unsafe_view(fresh, shape)


# floats in a register: convolution kernels of a CPU work on blocks of as many channels
SIMD = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8


class StackedConv2d(nn.Module):
    """N convolutions as one grouped convolution; 1x1 ones as one batched matrix product, which is faster.

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
        # alike in both directions, with one sum over all input channels: what the kernels for CUDA are for
        around = self.padding if isinstance(self.padding, tuple) else (0, 0)
        self.alike = all(one == other for one, other in (first.kernel_size, first.stride, around))
        self.alike &= self.mode in ("zeros", "reflect") and not isinstance(self.padding, str)
        self.alike &= first.groups == 1 and first.dilation == (1, 1)
        self.around = around[0]
        channels = self.weight.shape[2]
        self.missing = -channels % SIMD if channels > 2 * SIMD and self.groups == 1 else 0

    def order_for_cuda(self) -> None:
        """Put the weights of each tap of the kernel next to each other in memory, as the kernels for CUDA read them."""
        if self.alike and not self.pointwise and cuda_layers.compiles():
            from dipddpm.cuda.convolution import by_tap

            self.weight = nn.Parameter(by_tap(self.weight.detach()), self.weight.requires_grad)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        if self.pointwise:
            weight = self.weight.flatten(2)
            if self.bias is None:
                return _shaped(torch.bmm(weight, x.flatten(2)), n, -1, h, w)
            return _shaped(torch.baddbmm(self.bias[:, :, None], weight, x.flatten(2)), n, -1, h, w)
        if self.alike and cuda_layers.serve(x):
            if self.mode == "reflect":
                x = cuda_layers.reflection_pad(x, self.border)
            return cuda_layers.convolution(x, self.weight, self.bias, self.stride[0], self.around)
        if self.mode != "zeros":
            x = F.pad(x, self.border, mode=self.mode)
        weight = self.weight
        if self.missing and x.device.type == "cpu":
            x, weight = (F.pad(part, (0, 0, 0, 0, 0, self.missing)) for part in (x, weight))
        bias = None if self.bias is None else self.bias.flatten()
        folded, weight = x.flatten(0, 1)[None], weight.flatten(0, 1)
        y = F.conv2d(folded, weight, bias, self.stride, self.padding, self.dilation, n * self.groups)
        return _shaped(y, n, -1, *y.shape[2:])


class StackedBatchNorm2d(nn.Module):
    """Batch norm over a batch of one image each: statistics over the pixels of an image, affine of its own.

    Instance norm is the same thing, whatever the batch.
    """

    def __init__(self, first: nn.BatchNorm2d | nn.InstanceNorm2d, layers: Sequence[nn.Module]):
        super().__init__()
        self.weight, self.bias, self.eps = _if_any(layers, "weight"), _if_any(layers, "bias"), first.eps

    def forward(self, x: Tensor) -> Tensor:
        if cuda_layers.serve(x):
            normed = cuda_layers.norm(x, self.weight, self.bias, self.eps)
            if normed is not None:
                return normed
        weight = None if self.weight is None else self.weight.flatten()
        bias = None if self.bias is None else self.bias.flatten()
        folded = x.flatten(0, 1)[None]
        return _shaped(F.batch_norm(folded, None, None, weight, bias, training=True, eps=self.eps), *x.shape)


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
        return _shaped(y, *x.shape[:-1], y.shape[-1])


stack_layer.register(nn.Conv2d, StackedConv2d)
stack_layer.register(nn.BatchNorm2d, StackedBatchNorm2d)
stack_layer.register(nn.InstanceNorm2d, StackedBatchNorm2d)
stack_layer.register(nn.GroupNorm, StackedGroupNorm)
stack_layer.register(nn.Linear, StackedLinear)
