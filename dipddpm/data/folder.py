"""folder:PATH: the user's own images, flat or as torchvision's ImageFolder (one sub-folder a class)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dipddpm.data import Dataset, Split
from dipddpm.errors import InputError

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # as torchvision reads
PERCENT: dict[Split, range] = {"test": range(10), "validation": range(10, 20), "train": range(20, 100)}


class Folder(Dataset):
    """Every image below a folder, centre-cropped to a square and resized. Grey images of 16 bits are scaled to 8.

    Splits: sub-folders ``train`` and ``test`` (with or without ``validation``) are taken as they stand; without them,
    and for the part that has no sub-folder, a file belongs to a split by the hash of its path below the folder, so
    that adding a file moves no other.
    """

    name = "folder"
    takes_location = True
    licence = "the owner's"
    how_to_get = "your own images: folder:PATH"

    @property
    def label(self) -> str:
        """``folder:`` and the last two parts of the path: enough to know it by, nothing of the machine."""
        return "folder:" + "/".join(Path(self.location or "").parts[-2:])

    def load(self, split: Split) -> Tensor:
        files = self.files(split)
        if not files:
            raise InputError(f"folder {self.location}: no image for the {split} split ({', '.join(IMG_EXTENSIONS)})")
        return torch.stack([self._read(file) for file in files])

    def photographs(self, split: Split) -> list[str]:
        """The path of every file below the folder: each is a photograph of its own."""
        kept: dict[Split, list[str]] = vars(self).setdefault("_names", {})  # walking a large folder takes seconds
        if split not in kept:
            kept[split] = [file.relative_to(self.location or "").as_posix() for file in self.files(split)]
        return kept[split]

    def files(self, split: Split) -> list[Path]:
        """Paths of a split's images, sorted.

        Raises:
            InputError: no such folder, or no image in it.
        """
        folder = Path(self.location or "")
        if not folder.is_dir():
            raise InputError(f"folder {folder}: no such folder")
        if (folder / "train").is_dir() and (folder / "test").is_dir():
            if split == "test" or (folder / "validation").is_dir():
                return self._images(folder / split)
            parts = PERCENT["validation"]
            return [f for f in self._images(folder / "train") if (_percent(f, folder) in parts) == (split != "train")]
        return [f for f in self._images(folder) if _percent(f, folder) in PERCENT[split]]

    @staticmethod
    def _images(folder: Path) -> list[Path]:
        files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in IMG_EXTENSIONS and f.is_file())
        if not files:
            raise InputError(f"folder {folder}: holds no image ({', '.join(IMG_EXTENSIONS)})")
        return files

    def _read(self, file: Path) -> Tensor:
        try:
            with Image.open(file) as opened:
                whole = _eight_bits(opened, file).convert("RGB")
                image = ImageOps.fit(whole, (self.size, self.size), Image.Resampling.BICUBIC)
        except InputError:
            raise
        except Exception as error:  # a damaged image fails in as many ways as there are formats
            raise InputError(f"{file}: not a readable image; remove it or replace it ({error})") from error
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _eight_bits(image: Image.Image, file: Path) -> Image.Image:
    """A grey image of 16 bits a value scaled to 8, where Pillow would cut all but the darkest off as white."""
    # PNG and PPM have no more than 16 bits, also where Pillow holds them in 32
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    if image.mode in ("I", "F"):
        raise InputError(f"{file}: nothing says which value is white in mode {image.mode} (32 bits); save it as 8-bit")
    return image


def _percent(file: Path, folder: Path) -> int:
    digest = hashlib.sha256(file.relative_to(folder).as_posix().encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100
