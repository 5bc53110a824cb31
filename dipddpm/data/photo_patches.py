"""photo-patches: crops of the photographs that three Python packages install. Needs no network and no folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dipddpm.data import Dataset, Split
from dipddpm.documents import brief
from dipddpm.errors import InputError


@dataclass(frozen=True)
class Photograph:
    """A photograph that a package installs.

    Attributes:
        distribution, module: what to install, and the package as Python imports it.
        path: of the file below the package.
        size: (width, height) in pixels, so that a reduced copy is noticed.
        source: who made it, and what it may be used for.
    """

    distribution: str
    module: str
    path: str
    size: tuple[int, int]
    source: str

    @property
    def name(self) -> str:
        """Name of the file without its ending: ``coffee``."""
        return Path(self.path).stem


def _skimage(file: str, size: tuple[int, int], source: str) -> Photograph:
    return Photograph("scikit-image", "skimage", f"data/{file}", size, source)


def _sklearn(file: str, size: tuple[int, int], source: str) -> Photograph:
    return Photograph("scikit-learn", "sklearn", f"datasets/images/{file}", size, source)


# Split by photograph: two crops of one photograph share its light, its lens and its texture, so a random split of crops
# would leak. Six photographs of everyday scenes are for testing, because a verdict needs six at least. Settings are
# chosen on `rocket` and on `hubble_deep_field`, which is about as hard to restore as an everyday scene (noise of sigma
# 25, TV with its best weight: 29.0 dB; the test photographs 25.4 to 29.2). `ihc` (tissue) and `retina` resemble no test
# photograph; they are in training so that populations can be held against photographs that no prior was made of.
PHOTOGRAPHS: Mapping[Split, tuple[Photograph, ...]] = {
    "train": (
        _skimage("astronaut.png", (512, 512), "NASA, public domain"),
        _skimage("ihc.png", (512, 512), "Center for Microscopy and Molecular Imaging, no known copyright restrictions"),
        _skimage("retina.jpg", (1411, 1411), "Mikael Häggström, CC0"),
    ),
    "validation": (
        _skimage("rocket.jpg", (640, 427), "SpaceX, CC0"),
        _skimage("hubble_deep_field.jpg", (1000, 872), "NASA, public domain"),
    ),
    "test": (
        _skimage("chelsea.png", (451, 300), "Stefan van der Walt, CC0"),
        _skimage("coffee.png", (600, 400), "Rachel Michetti, CC0 by way of Pikolo Espresso Bar"),
        _skimage(
            "motorcycle_left.png", (741, 500),
            "Middlebury stereo data 2014, free to use and publish, citation asked for: Scharstein et al., GCPR 2014",
        ),
        Photograph(
            "matplotlib", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", (512, 600), "US Navy, public domain"
        ),
        _sklearn("china.jpg", (640, 427), "danielbuechele on Flickr, CC BY 2.0"),
        _sklearn("flower.jpg", (640, 427), "vultilion on Flickr, CC BY 2.0"),
    ),
}  # fmt: skip
SCALES = (1, 2, 4)  # a crop covers size, 2 size or 4 size pixels of the photograph
# Standard deviation (of 255) below which a crop counts as flat: sky and table top, on which every method scores alike.
FLAT = 12.0


class PhotoPatches(Dataset):
    """Non-overlapping crops of eleven freely usable photographs, at the scales 1, 1/2 and 1/4 that are large enough."""

    name = "photo-patches"
    licence = "; ".join(f"{p.name}: {p.source}" for photographs in PHOTOGRAPHS.values() for p in photographs)
    known_copies = "no photograph is in two of its splits"
    how_to_get = "installed with scikit-image, scikit-learn and matplotlib"

    def load(self, split: Split) -> Tensor:
        images = torch.cat([_crops(photograph, self.size) for photograph in PHOTOGRAPHS[split]])
        if not len(images):
            raise InputError(
                f"photo-patches: the {split} photographs are too small for images of {self.size} px; "
                f"use --dataset folder:PATH with larger ones"
            )
        return images

    def photographs(self, split: Split) -> list[str]:
        return [name for p in PHOTOGRAPHS[split] for name in [p.name] * len(_crops(p, self.size))]


@lru_cache(maxsize=64)
def _crops(photograph: Photograph, size: int) -> Tensor:
    """The crops of a photograph that are not flat, (N, 3, size, size) uint8; cut once per process."""
    crops = [torch.empty(0, 3, size, size, dtype=torch.uint8)]
    image = _open(photograph)
    for scale in SCALES:
        reduced = image.reduce(scale) if scale > 1 else image
        if min(reduced.size) < size:
            break
        pixels = torch.from_numpy(np.array(reduced)).permute(2, 0, 1)
        tiles = pixels.unfold(1, size, size).unfold(2, size, size)
        every = tiles.permute(1, 2, 0, 3, 4).reshape(-1, 3, size, size)
        crops.append(every[every.float().mean(1).flatten(1).std(1) > FLAT])
    return torch.cat(crops)


def _open(photograph: Photograph) -> Image.Image:
    """The photograph, RGB.

    Raises:
        InputError: it is missing, unreadable or of another size.
    """
    package, mend = (
        photograph.distribution,
        f"install it again: pip install --force-reinstall {photograph.distribution}",
    )
    spec = find_spec(photograph.module)  # finds a package without the seconds that importing it takes
    if spec is None or spec.origin is None:
        raise InputError(f"photo-patches: {photograph.name} comes with {package}, which is not installed; {mend}")
    path = Path(spec.origin).parent / photograph.path
    if not path.is_file():
        raise InputError(f"photo-patches: {package} is installed without {path}; {mend}")
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except Exception as error:  # a damaged image fails in as many ways as there are formats
        raise InputError(f"photo-patches: {path} is not a readable image ({brief(error)}); {mend}") from error
    if image.size != photograph.size:
        (width, height), (w, h) = photograph.size, image.size
        raise InputError(f"photo-patches: {path} must be {width} x {height} pixels, it is {w} x {h}; {mend}")
    return image
