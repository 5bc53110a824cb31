"""Whether images of one split are in another: equal pixels, and near copies of what a user brought.

A near copy is the same picture saved again, made brighter or darker, or moved by a pixel. A perceptual hash (Zauner
2010: which low frequencies of the cosine transform are above their median) finds pairs that may be near copies, and
the correlation of their pixels and of their fine detail decides. The hash is written here because libraries such as
ImageHash take one image of Pillow at a time; the images of a data set are one tensor, and two products of matrices
hash all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, pad

from dipddpm.data import SPLITS, Dataset, Split
from dipddpm.errors import InputError
from dipddpm.memo import Memo
from dipddpm.notes import say_once
from dipddpm.rng import image_keys

SIDE = 32  # pixels of the grey images that are compared
LOW = 8  # frequencies of the hash along each side
# A copy that is moved by a pixel differs in up to 16 of the 63 bits (measured on 2,500 photographs of CIFAR-10), one
# that is saved with JPEG quality 30 in up to 10.
RADIUS = 16
NEAREST = 16  # candidates of an image that are compared: more of them are pictures that all look alike
# Of 2,500 copies saved with JPEG quality 50 the lowest correlations are 0.89 of the pixels and 0.75 of the detail.
ALIKE, DETAIL = 0.85, 0.5
SMALLEST = 16  # pixels; what is smaller holds too little to tell a copy
MOST = 60_000  # images of a split that are read for this: more would delay every session by minutes
NAMED = 100  # pairs that a run keeps by name
AT_ONCE = 512


def leaks_of_splits(dataset: Dataset, memo: Memo | None = None) -> dict[str, Any]:
    """What the splits of a data set have in common, as JSON can hold it.

    Args:
        memo: who keeps the comparison, by the content of the images; without one it is made again each time.

    Returns:
        ``sizes`` {split: images compared}; ``left out`` {split: why it was not compared}; ``equal`` how many pairs of
        images in different splits have the same pixels; ``near`` how many more are near copies, and ``pairs`` the
        names of the first of both; ``known`` why near copies were not looked for, "" if they were.
    """
    images, left_out = _read(dataset)
    known = str(getattr(dataset, "known_copies", "")) or (
        "" if dataset.size >= SMALLEST else "images too small to tell"
    )
    names: list[tuple[str, str]] = []
    equal = near = 0
    for later, earlier in combinations(images, 2):  # in the order of SPLITS: the earlier split is the smaller one
        same = _equal(images[earlier], images[later])
        alike = [] if known else [pair for pair in _near(images[earlier], images[later], memo) if pair not in same]
        names += [(_name(dataset, earlier, i), _name(dataset, later, j)) for i, j in [*sorted(same), *alike]]
        equal, near = equal + len(same), near + len(alike)
    return {
        "sizes": {split: len(held) for split, held in images.items()}, "left out": left_out, "equal": equal,
        "near": near, "pairs": [list(pair) for pair in names[:NAMED]], "known": known,
    }  # fmt: skip


def warn_of_leaks(label: str, leaks: Mapping[str, Any]) -> None:
    """Say on stderr, in one line, which images lie in two splits; nothing where none do."""
    if count := leaks["equal"] + leaks["near"]:
        first = "; ".join(" and ".join(pair) for pair in leaks["pairs"][:3])
        more = f"; and {count - 3} more" if count > 3 else ""
        what = f"in different splits, images with equal pixels: {leaks['equal']}, near copies: {leaks['near']}"
        say_once(f"{label}: {what} ({first}{more}); results may flatter, so keep one of each pair")


def _read(dataset: Dataset) -> tuple[dict[Split, Tensor], dict[str, str]]:
    """The images of every split that has some, and why others have none here."""
    images: dict[Split, Tensor] = {}
    left_out: dict[str, str] = {}
    for split in SPLITS:
        try:
            count = getattr(dataset, "count", lambda split: 0)(split)
            if count > MOST:
                left_out[split] = f"{count:,} images, more than the {MOST:,} that are read for this"
            else:
                images[split] = dataset.images(split)
        except InputError:
            left_out[split] = "it has no images that can be read"
    return images, left_out


def _name(dataset: Dataset, split: Split, i: int) -> str:
    return f"{split} {dataset.photographs(split)[i]}"[-300:]  # as long as names in a run file may be


def _equal(earlier: Tensor, later: Tensor) -> set[tuple[int, int]]:
    """Positions of images with the same pixels; the first one of ``earlier`` stands for its own copies."""
    places = {key: i for i, key in reversed(list(enumerate(image_keys(earlier))))}
    return {(places[key], j) for j, key in enumerate(image_keys(later)) if key in places}


def _near(earlier: Tensor, later: Tensor, memo: Memo | None) -> list[tuple[int, int]]:
    arguments = {"earlier": earlier, "later": later}
    found: Mapping[str, object] = memo(near_copies, arguments).value if memo else near_copies(**arguments)
    pairs = found["pairs"]
    assert isinstance(pairs, Tensor)
    return [(int(i), int(j)) for i, j in pairs.tolist()]


def near_copies(earlier: Tensor, later: Tensor) -> dict[str, Tensor]:
    """Pairs of images that are near copies, equal ones included.

    Args:
        earlier, later: (N, 3, H, W) and (M, 3, H, W) uint8.

    Returns:
        ``pairs`` (P, 2) int64: positions in ``earlier`` and ``later``, the most alike first.
    """
    a, b = _grey(earlier), _grey(later)
    candidates = _candidates(_signs(a), _signs(b))
    alike = [_alike(a[i], b[j]) for i, j in (pair.unbind(1) for pair in candidates.split(AT_ONCE))]
    score = torch.cat(alike) if alike else torch.empty(0)
    order = score.argsort(descending=True, stable=True)
    return {"pairs": candidates[order[score[order] > 0]]}


def _grey(images: Tensor) -> Tensor:
    """(N, SIDE, SIDE) float32 luma, averaged down from larger images."""
    luma = torch.tensor([0.299, 0.587, 0.114])
    parts = [adaptive_avg_pool2d(part.float(), SIDE) for part in images.split(AT_ONCE)]
    return torch.cat([torch.einsum("nchw,c->nhw", part, luma) for part in parts])


def _signs(grey: Tensor) -> Tensor:
    """(N, 63) of -1 and 1: which low frequencies are above the median of their image."""
    place, frequency = torch.arange(SIDE) + 0.5, torch.arange(LOW)[:, None]
    cosines = torch.cos(math.pi / SIDE * frequency * place)
    low = torch.einsum("uh,nhw,vw->nuv", cosines, grey, cosines).flatten(1)[:, 1:]  # the first one is the brightness
    return torch.where(low > low.median(dim=1, keepdim=True).values, 1.0, -1.0)


def _candidates(a: Tensor, b: Tensor) -> Tensor:
    """(K, 2) positions of hashes that differ in no more than RADIUS bits, the NEAREST of each row of ``a``."""
    found = [torch.empty(0, 2, dtype=torch.int64)]
    for start in range(0, len(a), AT_ONCE):
        differ = (a.shape[1] - a[start : start + AT_ONCE] @ b.T) / 2
        bits, at = differ.topk(min(NEAREST, len(b)), dim=1, largest=False)
        row, column = (bits <= RADIUS).nonzero(as_tuple=True)
        found.append(torch.stack([row + start, at[row, column]], dim=1))
    return torch.cat(found)


def _alike(a: Tensor, b: Tensor) -> Tensor:
    """(K,) the correlation of the pixels of near copies, 0 for others: the best of nine shifts by a pixel or none."""
    pixels = _best(a, b)
    able = (pixels >= ALIKE).nonzero()[:, 0]  # few: the detail of the others need not be looked at
    detail = torch.zeros_like(pixels)
    detail[able] = _best(_detail(a[able]), _detail(b[able]))
    return torch.where(detail >= DETAIL, pixels, 0.0)


def _best(a: Tensor, b: Tensor) -> Tensor:
    inner = _unit(a[:, 1:-1, 1:-1])
    shifts = [(dy, dx) for dy in range(3) for dx in range(3)]
    moved = [_unit(b[:, dy : SIDE - 2 + dy, dx : SIDE - 2 + dx]) for dy, dx in shifts]
    return torch.stack([(inner * one).sum(1) for one in moved]).amax(0)


def _detail(grey: Tensor) -> Tensor:
    """The Laplacian: what a smooth sky and another smooth sky do not share."""
    p = pad(grey[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    return 4 * grey - p[:, :-2, 1:-1] - p[:, 2:, 1:-1] - p[:, 1:-1, :-2] - p[:, 1:-1, 2:]


def _unit(part: Tensor) -> Tensor:
    """Without its mean and of length 1, so that brightness and contrast do not count; 0 where all pixels are equal."""
    flat = part.flatten(1) - part.flatten(1).mean(1, keepdim=True)
    length = flat.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-3, flat / length.clamp(min=1e-3), 0.0)
