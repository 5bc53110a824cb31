"""The networks of a batch, one per image: built once, their initial weights drawn for all images at once.

Building one network after the other takes longer than a hundred iterations of fitting them all on a GPU. So one is
built and watched: which of its parameters its constructor fills from a uniform or normal distribution, and which bounds
these have. Each image then draws the same ones from its own generator. A constructor that does anything else with
random numbers is called once for each image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dipddpm.dip import DeepImagePrior
from dipddpm.rng import ImageRng
from dipddpm.stacking import StackedConv2d, stack


def build(
    architecture: type[DeepImagePrior], rng: ImageRng, size: int, width: int | None = None
) -> tuple[nn.Module, Tensor]:
    """The stacked networks of a batch, each initialised from the seed of its image, and their inputs z."""
    n = len(rng)

    def make() -> DeepImagePrior:
        return architecture(size=size, width=width)

    first, draws = _watched(make)
    if draws is None:
        networks = _one_by_one(make, rng.seeds)
        stacked = stack(networks if n > 1 else [*networks, copy.deepcopy(networks[0])]).to(rng.device)
    else:
        stacked = stack([first.to(rng.device)] * max(n, 2))
        _draw(stacked, draws, rng)
    if rng.device.type == "cuda":
        for module in stacked.modules():
            if isinstance(module, StackedConv2d):
                module.order_for_cuda()
    return (stacked if n > 1 else WithIdleTwin(stacked)), first.draw_z(rng)


def network_of(
    architecture: type[DeepImagePrior], seed: int, size: int, width: int | None = None
) -> tuple[DeepImagePrior, Tensor]:
    """The network of one image by itself and its input z (1, ...), as :func:`build` gives the image of that seed."""
    rng = ImageRng([seed])

    def make() -> DeepImagePrior:
        return architecture(size=size, width=width)

    network, draws = _watched(make)
    if draws is None:
        (network,) = _one_by_one(make, rng.seeds)
    else:
        parameters = dict(network.named_parameters())
        with torch.no_grad():
            for draw in draws:
                parameters[draw.parameter].copy_(draw.values(rng, parameters[draw.parameter].shape)[0])
    return network, network.draw_z(rng)


class WithIdleTwin(nn.Module):
    """Runs a single image beside a copy whose output is not used.

    A batch of one takes other convolution kernels, which round differently, and Adam makes whole steps of rounding
    errors where a gradient is nearly 0: without the twin, an image alone drifts away from itself in a batch.
    """

    def __init__(self, stacked: nn.Module):
        super().__init__()
        self.stacked = stacked

    def forward(self, z: Tensor) -> Tensor:
        """(1, ...) -> (1, 3, size, size)."""
        return self.stacked(z.expand(2, *z.shape[1:]))[:1]


@dataclass(frozen=True)
class Draw:
    """How a parameter is drawn: uniform between ``a`` and ``b``, or normal of mean ``a`` and deviation ``b``."""

    parameter: str
    uniform: bool
    a: float
    b: float

    def values(self, rng: ImageRng, shape: Sequence[int]) -> Tensor:
        """(N, *shape), each image's from its own generator."""
        if self.uniform:
            return rng.rand(*shape).mul_(self.b - self.a).add_(self.a)
        return rng.randn(*shape).mul_(self.b).add_(self.a)


class _Watch(TorchDispatchMode):
    """Notes what random numbers fill: ``filled[data_ptr]`` = (the tensor, what it was filled with, how).

    The tensor is held so that no other gets its place in memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.filled: dict[int, tuple[Tensor, Tensor, bool, float, float]] = {}
        self.known = True

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags:
            uniform = func is torch.ops.aten.uniform_.default
            if uniform or func is torch.ops.aten.normal_.default:
                filled, a, b = args[0], *(float(bound) for bound in (*args[1:3], *(0.0, 1.0)[len(args) - 1 :]))
                self.filled[filled.data_ptr()] = filled, filled.clone(), uniform, a, b
            else:
                self.known = False
        return result


def _watched(make: Callable[[], DeepImagePrior]) -> tuple[DeepImagePrior, list[Draw] | None]:
    """A network, and how its parameters are drawn; None where its constructor does more than fill them."""
    with torch.random.fork_rng(devices=[]), _Watch() as watch:
        torch.manual_seed(0)
        network = make()
    draws, known = list[Draw](), watch.known
    of_parameters = {parameter.data_ptr(): (name, parameter) for name, parameter in network.named_parameters()}
    for place, (_, filled, uniform, a, b) in watch.filled.items():
        name, parameter = of_parameters.get(place, ("", None))
        # a tensor that is no parameter may have become one, and a parameter may have been changed afterwards
        if parameter is None or not torch.equal(parameter.detach(), filled):
            known = False
        else:
            draws.append(Draw(name, uniform, a, b))
    return network, draws if known else None


def _draw(stacked: nn.Module, draws: Sequence[Draw], rng: ImageRng) -> None:
    """Fill the parameters of all networks, each image from its own generator; a further network is the last again."""
    parameters = dict(stacked.named_parameters())
    with torch.no_grad():
        for draw in draws:
            parameter = parameters[draw.parameter]
            drawn = draw.values(rng, parameter.shape[1:])
            parameter[: len(rng)] = drawn
            parameter[len(rng) :] = drawn[-1:]


def _one_by_one(make: Callable[[], DeepImagePrior], seeds: Sequence[int]) -> list[DeepImagePrior]:
    networks = []
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(seed)
            networks.append(make())
    return networks
