"""Randomness: every image owns its generator, so neither batch size, order nor neighbours change a draw.

A generator is a seed and a position: its bits are Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011) with the seed as key and the position as counter. numpy computes them on a CPU and a kernel of a few
lines on CUDA, bit for bit the same, so that a GPU run draws the numbers of a CPU run at its own speed.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from dipddpm.cuda import layers as cuda_layers

WORDS = 4  # of 64 bits, that Philox makes of one position
UNIT = 2.0**-24  # the distance of the uniform numbers that float32 holds


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
    """One generator per image; ``randn`` and ``rand`` stack one draw of each.

    The numbers do not depend on the device: its bits are the same everywhere, and what is made of them differs by the
    rounding of logarithm, sine and cosine (about 1e-6).
    Idea: ``StackedRandomGenerator`` of EDM (Karras et al. 2022, arXiv 2206.00364).
    """

    def __init__(self, seeds: Iterable[int], device: torch.device | str = "cpu"):
        self.seeds = list(seeds)
        self.device = torch.device(device)
        self._drawn = np.zeros(len(self.seeds), np.int64)  # positions that each generator has used up

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
        own.seeds, own._drawn = self.seeds[images], self._drawn[images]  # a view: drawing from it moves these on
        before = own._drawn.copy()
        try:
            yield own
        except BaseException:
            own._drawn[:] = before
            raise

    def of_samples(self, count: int) -> ImageRng:
        """The generators of ``count`` independent samples of each image, sample after sample, (count N,).

        Those of the first sample begin where these stand; :meth:`go_on_from` moves these to where they end. Those of
        sample m > 0 are new: they derive from the seed of the image and from m, however much these have been drawn
        from.
        """
        more = ImageRng((seed_for(seed, "sample", m) for m in range(1, count) for seed in self.seeds), self.device)
        more.seeds, more._drawn = self.seeds + more.seeds, np.concatenate([self._drawn, more._drawn])
        return more

    def go_on_from(self, samples: ImageRng) -> None:
        """Stand where the generators of the first sample stand, of what :meth:`of_samples` gave."""
        self._drawn[:] = samples._drawn[: len(self)]

    def randn(self, *shape: int) -> Tensor:
        """(N, *shape) standard normal, of which none is beyond 5.8 (Box and Muller, float32)."""
        count = math.prod(shape)
        uniform = self._integers(count)
        half = uniform.shape[1] // 2
        radius = uniform[:, :half].add(1).mul_(UNIT).log_().mul_(-2).sqrt_()
        angle = uniform[:, half:].mul(2 * math.pi * UNIT)
        drawn = torch.empty_like(uniform)
        torch.cos(angle, out=drawn[:, :half]).mul_(radius)
        torch.sin(angle, out=drawn[:, half:]).mul_(radius)
        return drawn[:, :count].reshape(len(self), *shape)

    def rand(self, *shape: int) -> Tensor:
        """(N, *shape) uniform on [0, 1)."""
        count = math.prod(shape)
        return self._integers(count).mul_(UNIT)[:, :count].reshape(len(self), *shape)

    def _integers(self, count: int) -> Tensor:
        """At least ``count`` uniform integers of 24 bits for each image, as floats, an even number of them."""
        blocks = -(-count // (2 * WORDS))
        on_device = self.device.type == "cuda" and cuda_layers.compiles()
        if on_device:
            from dipddpm.cuda.philox import philox

            bits = philox(self.seeds, self._drawn, blocks, self.device)
        else:
            bits = _philox(self.seeds, self._drawn, blocks)
        self._drawn += blocks
        integers = (bits.view(torch.int32) >> 8).bitwise_and_(0xFFFFFF).to(torch.get_default_dtype())
        return integers if on_device else integers.to(self.device)


def _philox(seeds: Sequence[int], positions: np.ndarray, blocks: int) -> Tensor:
    """(N, 4 blocks) int64: the words of each generator from its position on."""
    generator, words = np.random.Philox(0), np.empty((len(seeds), WORDS * blocks), np.uint64)
    for own, seed, position in zip(words, seeds, positions, strict=True):
        counter, key = np.array([position, 0, 0, 0], np.uint64), np.array([seed, 0], np.uint64)
        generator.state = {
            "bit_generator": "Philox", "state": {"counter": counter, "key": key}, "buffer": np.zeros(4, np.uint64),
            "buffer_pos": 4, "has_uint32": 0, "uinteger": 0,
        }  # fmt: skip
        own[:] = generator.random_raw(len(own))
    return torch.from_numpy(words.view(np.int64))
