"""The bits of Philox4x64-10 on CUDA; :mod:`dipddpm.rng` says what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 256


def philox(seeds: Sequence[int], positions: np.ndarray, blocks: int, device: torch.device) -> Tensor:
    """The words of each generator from its position on, as numpy's ``Philox`` of that key gives them.

    Args:
        seeds: keys, N numbers below 2^63. positions: (N,) int64.

    Returns:
        (N, 4 blocks) int64 on ``device``.
    """
    words = torch.empty(len(seeds), 4 * blocks, dtype=torch.int64, device=device)
    alike = bool((positions == positions[0]).all())  # those of one batch are: nothing has to be copied
    at = words if alike else torch.from_numpy(positions).to(device)
    grid = triton.cdiv(blocks, TILE), len(seeds)
    first = int(positions[0]) if alike else 0
    _philox[grid](words, _keys(tuple(seeds), device), at, first, blocks, ALIKE=alike, TILE=TILE)
    return words


@lru_cache(8)
def _keys(seeds: tuple[int, ...], device: torch.device) -> Tensor:
    """The keys on the device: a fit asks for the same ones at every iteration."""
    keys = torch.tensor(seeds, dtype=torch.int64)
    if device.type == "cuda":
        keys = keys.pin_memory()  # so that the host does not wait for the device
    return keys.to(device, non_blocking=True)


@triton.jit(do_not_specialize=["first", "blocks"])
def _philox(words, keys, positions, first: tl.int64, blocks, ALIKE: tl.constexpr, TILE: tl.constexpr):
    image = tl.program_id(1).to(tl.int64)
    block = tl.program_id(0) * TILE + tl.arange(0, TILE)
    if not ALIKE:
        first += tl.load(positions + image)
    a = (first + 1 + block).to(tl.uint64)  # numpy moves its counter on before it makes a block
    b = tl.zeros((TILE,), tl.uint64)
    c = tl.zeros((TILE,), tl.uint64)
    d = tl.zeros((TILE,), tl.uint64)
    key = tl.zeros((TILE,), tl.uint64) + tl.load(keys + image).to(tl.uint64)
    other = tl.zeros((TILE,), tl.uint64)
    to_a = tl.full((TILE,), 0xD2E7470EE14C6C93, tl.uint64)
    to_c = tl.full((TILE,), 0xCA5A826395121157, tl.uint64)
    step = tl.full((TILE,), 0x9E3779B97F4A7C15, tl.uint64)
    other_step = tl.full((TILE,), 0xBB67AE8584CAA73B, tl.uint64)
    for _ in tl.static_range(10):
        low_a, high_a = to_a * a, tl.umulhi(to_a, a)
        low_c, high_c = to_c * c, tl.umulhi(to_c, c)
        a, b, c, d = high_c ^ b ^ key, low_c, high_a ^ d ^ other, low_a
        key += step
        other += other_step
    to = words + (image * blocks + block) * 4
    inside = block < blocks
    tl.store(to, a.to(tl.int64), mask=inside)
    tl.store(to + 1, b.to(tl.int64), mask=inside)
    tl.store(to + 2, c.to(tl.int64), mask=inside)
    tl.store(to + 3, d.to(tl.int64), mask=inside)
