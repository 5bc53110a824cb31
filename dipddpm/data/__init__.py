"""Data sets: one file each. ``open_dataset`` turns what the user typed into a data set."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from dipddpm.errors import InputError
from dipddpm.paths import given_path
from dipddpm.registry import choose, discover
from dipddpm.rng import image_keys

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class Dataset(ABC):
    """Photographs in three disjoint splits.

    ``train`` is for fitting a denoiser, ``validation`` for choosing every setting (sampler, t0, number of steps), and
    ``test`` for the numbers that are reported.

    Args:
        location: what follows the colon in ``name:location``, for data sets that take one.
        root: folder of downloaded data, for data sets that need one (``--data-root``).
        size: height and width in pixels of the images returned.
    """

    name: ClassVar[str]
    takes_location: ClassVar[bool] = False
    licence: ClassVar[str]
    how_to_get: ClassVar[str]

    def __init__(self, location: str | None = None, root: str | Path | None = None, size: int = 32):
        if self.takes_location and not location:
            raise InputError(f"data set {self.name!r} needs a location: write {self.name}:PATH")
        if location and not self.takes_location:
            raise InputError(f"data set {self.name!r} takes no location, got {location!r}")
        self.location = str(given_path(location)) if location and location.startswith("~") else location
        self.root, self.size = given_path(root) if root else None, size

    @abstractmethod
    def load(self, split: Split) -> Tensor:
        """All images of a split, (N, 3, size, size) uint8, in an order that never changes.

        Raises:
            InputError: the data are missing, unreadable or empty; the message names the file.
        """

    def images(self, split: Split) -> Tensor:
        """What :meth:`load` gives, read once and kept. Do not change it in place.

        Raises:
            InputError: as :meth:`load`.
        """
        kept: dict[Split, Tensor] = vars(self).setdefault("_kept", {})
        if split not in kept:
            kept[split] = self.load(split)
        return kept[split]

    @property
    def label(self) -> str:
        """How reports name this data set; never a path of this machine."""
        return self.name

    def photographs(self, split: Split) -> list[str]:
        """For every image of :meth:`load`, in its order, the name of the photograph that it was cut from.

        Images of one photograph share its light, its lens and its texture, so that statistics resample photographs and
        not images. Here every image is a photograph of its own, named by its content: equal images are one.

        Raises:
            InputError: as :meth:`load`.
        """
        kept: dict[Split, list[str]] = vars(self).setdefault("_names", {})
        if split not in kept:
            kept[split] = image_keys(self.images(split))
        return kept[split]

    def sample(self, split: Split, count: int, or_fewer: bool = False) -> Tensor:
        """``count`` images spread evenly over a split and its photographs, (count, 3, size, size) uint8.

        The spread is over a fixed shuffle, so that a larger count extends a smaller one (its cached work is reused).
        Photographs take turns: of six photographs, the first twelve images are two each.

        Args:
            or_fewer: all of a split that holds fewer.

        Raises:
            InputError: the split holds fewer images.
        """
        return self.images(split)[self.sampled(split, count, or_fewer)]

    def sample_photographs(self, split: Split, count: int, or_fewer: bool = False) -> list[str]:
        """The photograph of every image of :meth:`sample`, in its order.

        Raises:
            InputError: as :meth:`sample`.
        """
        names = self.photographs(split)
        return [names[i] for i in self.sampled(split, count, or_fewer)]

    def divided(self, split: Split, count: int) -> tuple[list[int], list[int]]:
        """``count`` images cut from as few photographs as hold them, and all images of the other photographs.

        Both are positions in :meth:`load`, in the order of :meth:`sample`. Where every image is a photograph of its
        own, they are the first ``count`` of a sample and the rest. A larger count extends a smaller one as long as it
        needs no further photograph.

        Raises:
            InputError: the split holds fewer images.
        """
        names = self.photographs(split)
        self.sampled(split, count)  # refuses a count that is too large
        every = self.sampled(split, len(names))
        sizes, chosen, held = Counter(names), set[str](), 0
        for i in every:
            if held < count and names[i] not in chosen:
                chosen.add(names[i])
                held += sizes[names[i]]
        return [i for i in every if names[i] in chosen][:count], [i for i in every if names[i] not in chosen]

    def sampled(self, split: Split, count: int, or_fewer: bool = False) -> list[int]:
        """Positions in :meth:`load` of the images of :meth:`sample`.

        Raises:
            InputError: as :meth:`sample`.
        """
        held = len(self.images(split))
        if held < count and not or_fewer:
            raise InputError(f"data set {self.label!r}: {count} {split} images asked for, it holds {held}")
        orders: dict[Split, list[int]] = vars(self).setdefault("_orders", {})
        if split not in orders:
            shuffled = torch.randperm(held, generator=torch.Generator().manual_seed(0)).tolist()
            orders[split] = in_turns(shuffled, self.photographs(split))
        return orders[split][:count]


def in_turns(order: Sequence[int], photographs: Sequence[str]) -> list[int]:
    """``order`` so that photographs take turns: first one image of each, then a second of each, and so on.

    Where each image is a photograph of its own, nothing changes.
    """
    turn, seen = {}, Counter[str]()
    for i in order:
        turn[i] = seen[photographs[i]]
        seen[photographs[i]] += 1
    return sorted(order, key=turn.__getitem__)


def last_in_turns(order: Sequence[int], photographs: Sequence[str], count: int) -> list[int]:
    """The last ``count`` of ``order``, photographs taking turns from its end. Everything else takes from its front."""
    return in_turns(order[::-1], photographs)[:count][::-1]


def datasets() -> Mapping[str, type[Dataset]]:
    """Every data set that can be named, by name."""
    return discover(sys.modules[__name__], Dataset)


def open_dataset(spec: str, root: str | Path | None = None, size: int = 32) -> Dataset:
    """The data set for ``photo-patches``, ``cifar10``, ``folder:PATH`` or what a plug-in adds.

    Raises:
        InputError: no such data set; the message lists them.
    """
    name, _, location = spec.partition(":")
    allowed = {f"{n}:PATH" if d.takes_location else n: n for n, d in datasets().items()}
    if name not in allowed.values():
        choose("data set", spec, allowed)
    return datasets()[name](location or None, root, size)


def to_float(images: Tensor) -> Tensor:
    """uint8 [0, 255] -> float32 [-1, 1], the range of every image inside the benchmark."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """float [-1, 1] -> uint8 [0, 255], rounded and clipped."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
