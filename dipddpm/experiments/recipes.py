"""Recipes: which DIP network is fitted, how wide, in which way and at which rate; and how long at equal cost."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import torch

from dipddpm.dip import DeepImagePrior, architecture_class, width_for
from dipddpm.errors import InputError
from dipddpm.fitting import FittingMethod, fitting_method
from dipddpm.memo import Memo

PLAIN = "plain"
GROWTH = 2 / 3
"""Seconds of a fitting iteration grow with about this power of its operations, since small layers waste more: within
20 % for five architectures on a CPU with AVX2, from deep_decoder (1 % of the operations of a skip net, 7 % of its time)
to the skip net at half its width (28 % and 44 %); conv_decoder takes two thirds of the time that this makes of it."""


@dataclass(frozen=True)
class Recipe:
    """How a DIP is made.

    Attributes:
        architecture: name of the network; ``NAME:32`` 32 channels wide, ``NAME:matched`` with as many parameters as the
            first architecture of an experiment.
        way: name of the fitting method.
        rates: learning rates, one of which is chosen on the validation images; empty for the published rate of the way
            of fitting or of the architecture.
    """

    architecture: str
    way: str = PLAIN
    rates: tuple[float, ...] = ()

    @property
    def label(self) -> str:
        """How tables name it: ``skip:32``, ``skip:32 tv``, ``skip:32 tuned lr``."""
        way = "" if self.way == PLAIN else self.way
        return " ".join(filter(None, [self.architecture, way, "tuned lr" if self.rates else ""]))

    @property
    def is_published(self) -> bool:
        """Whether it is the plain loop at the published rate."""
        return self == Recipe(self.architecture)

    @property
    def network(self) -> type[DeepImagePrior]:
        """The class of its network."""
        return architecture_class(self.architecture)

    def method(self, lr: float | None = None) -> FittingMethod:
        """Its fitting method, at a learning rate where one is given.

        Raises:
            InputError: no such method, or one that has no learning rate.
        """
        method = fitting_method(self.way)
        if lr is not None:
            if not hasattr(method, "lr"):
                raise InputError(f"fitting method {self.way!r} has no attribute lr: leave --axis dip.lr out")
            method.lr = lr
        return method

    def passes(self) -> float:
        """The cost of one iteration, in passes (forward and backward) through its network."""
        return fitting_method(self.way).passes


def described(recipe: Recipe, method: FittingMethod) -> str:
    """What was chosen for a recipe on the validation images, in a few words; "" where there was no choice."""
    rate = f"lr {getattr(method, 'lr', 0):g}" if recipe.rates else ""
    return ", ".join(filter(None, [method.described(), rate]))


def as_recipe(recipe: Recipe | str) -> Recipe:
    """The recipe itself; for the name of an architecture, its plain fit."""
    return Recipe(recipe) if isinstance(recipe, str) else recipe


def dip_flops(architecture: type[DeepImagePrior], size: int, width: int | None = None) -> dict[str, int]:
    """``flops``: floating-point operations of one forward pass of a DIP network for one image, two per
    multiply-accumulate. A fitting iteration, forward and backward together, is about three times as many."""
    from dipddpm.measure.instruments.flops import flops  # imported here: torch's counter takes a third of a second

    with torch.device("meta"), torch.no_grad():
        network = architecture(size=size, width=width)
        z = torch.empty(1, *network.z_shape())
        return {"flops": flops(lambda: network(z))}


_memo: Memo | None = None


def count_by(memo: Memo) -> None:
    """From now on, keep the counted operations of networks in ``memo``. Counting them again would import torch's
    compiler, which takes two seconds, and a session that finds every result in its store needs it for nothing else."""
    global _memo
    _memo = memo


@cache
def _operations(architecture: str, first: str) -> int:
    network, size, width = architecture_class(architecture), 32, width_for(architecture, 32, first)
    if _memo:
        with suppress(OSError):  # the disk is full: count without storing
            return _memo(dip_flops, {"architecture": network, "size": size, "width": width}).value["flops"]
    return dip_flops(network, size, width)["flops"]


def share(recipe: Recipe, first: str) -> float:
    """The cost of an iteration of a recipe, as a share of an iteration of the plain fit of the architecture ``first``.

    It is estimated from passes and floating-point operations on images of 32 px, so that it is the same on every
    machine. It only sets durations; records are charged seconds.
    """
    ratio = _operations(recipe.architecture, first) / _operations(first, first)
    return ratio**GROWTH * recipe.passes()


def at_equal_cost(iterations: Sequence[int], recipe: Recipe, first: str) -> tuple[int, ...]:
    """For each duration of the architecture ``first``, the one at which a recipe costs about as much, to two digits."""
    cost = share(recipe, first)
    if cost == 1:
        return tuple(iterations)
    return tuple(max(1, int(float(f"{duration / cost:.2g}"))) for duration in iterations)
