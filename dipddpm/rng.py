"""Randomness: every image owns its generator, so neither batch size, order nor neighbours change a draw."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


def seed_for(*parts: object) -> int:
    """A 63-bit seed that depends on every part and on nothing else (the same on every machine and Python)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def image_keys(images: Tensor) -> list[str]:
    """One short key per image, made from its pixels: an image keeps its seeds wherever it stands in a data set.

    Args:
        images: (N, C, H, W) uint8.
    """
    return [hashlib.sha256(image.numpy(force=True).tobytes()).hexdigest()[:16] for image in images]


class ImageRng:
    """One ``torch.Generator`` per image; ``randn`` and ``rand`` stack one draw of each.

    Draws are made on the CPU and moved, so that a GPU run uses the same numbers as a CPU run.
    Idea: ``StackedRandomGenerator`` of EDM (Karras et al. 2022, arXiv 2206.00364).
    """

    def __init__(self, seeds: Iterable[int], device: torch.device | str = "cpu"):
        self.seeds = list(seeds)
        self.device = torch.device(device)
        self._generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]

    @classmethod
    def for_images(cls, keys: Sequence[str], *purpose: object, device: torch.device | str = "cpu") -> ImageRng:
        """Generators that derive from the image and a purpose such as ``(seed, task, "noise")``, never from the arm."""
        return cls((seed_for(*purpose, key) for key in keys), device)

    def __len__(self) -> int:
        return len(self.seeds)

    @contextmanager
    def attempt(self, images: slice) -> Iterator[ImageRng]:
        """The generators of some of the images, to draw from; an exception puts them back to where they were.

        They are those of this batch itself: what follows goes on from them.
        """
        own = copy.copy(self)
        own.seeds, own._generators = self.seeds[images], self._generators[images]
        states = [generator.get_state() for generator in own._generators]
        try:
            yield own
        except BaseException:
            for generator, state in zip(own._generators, states, strict=True):
                generator.set_state(state)
            raise

    def of_samples(self, count: int) -> ImageRng:
        """The generators of ``count`` independent samples of each image, sample after sample, (count N,).

        Those of the first sample are these generators themselves. Those of sample m > 0 are new: they derive from the
        seed of the image and from m, however much these have been drawn from.
        """
        more = ImageRng((seed_for(seed, "sample", m) for m in range(1, count) for seed in self.seeds), self.device)
        more.seeds, more._generators = self.seeds + more.seeds, self._generators + more._generators
        return more

    def randn(self, *shape: int) -> Tensor:
        """(N, *shape) standard normal."""
        drawn = torch.empty(len(self), *shape)
        for own, generator in zip(drawn, self._generators, strict=True):
            own.normal_(generator=generator)
        return drawn.to(self.device)

    def rand(self, *shape: int) -> Tensor:
        """(N, *shape) uniform on [0, 1)."""
        return torch.stack([torch.rand(shape, generator=g) for g in self._generators]).to(self.device)
