"""photo-patches: 32 px crops of photographs that scikit-image installs with itself. Needs no network and no folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage
import torch
from PIL import Image
from torch import Tensor

from dipddpm.data import Dataset, Split
from dipddpm.errors import InputError

# Split by photograph: two crops of one photograph share its light, its lens and its texture, so a random split of crops
# would leak. Settings are chosen on crops of the training photographs; the two test photographs are seen once, scored.
PHOTOGRAPHS: dict[Split, tuple[str, ...]] = {
    "train": ("astronaut.png",),
    "validation": ("rocket.jpg",),
    "test": ("chelsea.png", "coffee.png"),
}
SCALES = (1, 2, 4)  # a crop covers size, 2 size or 4 size pixels of the photograph
# Standard deviation (of 255) below which a crop counts as flat: sky and table top, on which every method scores alike.
FLAT = 12.0


class PhotoPatches(Dataset):
    """Non-overlapping crops of four freely licensed photographs, at the scales 1, 1/2 and 1/4 that are large enough."""

    name = "photo-patches"
    licence = (
        "astronaut (NASA, public domain), rocket (SpaceX, CC0), chelsea (Stefan van der Walt, CC0), "
        "coffee (Rachel Michetti, CC0 by way of Pikolo Espresso Bar)"
    )
    how_to_get = "installed with scikit-image"

    def load(self, split: Split) -> Tensor:
        images = torch.cat([self._crops(photograph) for photograph in PHOTOGRAPHS[split]])
        if not len(images):
            raise InputError(
                f"photo-patches: the {split} photographs are too small for images of {self.size} px; "
                f"use --dataset folder:PATH with larger ones"
            )
        return images

    def _crops(self, photograph: str) -> Tensor:
        path = Path(skimage.__file__).parent / "data" / photograph
        if not path.exists():
            raise InputError(f"photo-patches: scikit-image is installed without {path}; reinstall scikit-image")
        crops = [torch.empty(0, 3, self.size, self.size, dtype=torch.uint8)]
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        for scale in SCALES:
            reduced = image.reduce(scale) if scale > 1 else image
            if min(reduced.size) < self.size:
                break
            pixels = torch.from_numpy(np.array(reduced)).permute(2, 0, 1)
            tiles = pixels.unfold(1, self.size, self.size).unfold(2, self.size, self.size)
            every = tiles.permute(1, 2, 0, 3, 4).reshape(-1, 3, self.size, self.size)
            crops.append(every[every.float().mean(1).flatten(1).std(1) > FLAT])
        return torch.cat(crops)
