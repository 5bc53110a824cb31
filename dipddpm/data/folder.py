"""folder:PATH: the user's own images, flat or as torchvision's ImageFolder (one sub-folder a class)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dipddpm.data import Dataset, Split
from dipddpm.errors import InputError

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # as torchvision reads
PERCENT: dict[Split, range] = {"test": range(10), "validation": range(10, 20), "train": range(20, 100)}


class Folder(Dataset):
    """Every image below a folder, centre-cropped to a square and resized.

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
                image = ImageOps.fit(opened.convert("RGB"), (self.size, self.size), Image.Resampling.BICUBIC)
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise InputError(f"{file}: not a readable image; remove it or replace it ({error})") from error
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _percent(file: Path, folder: Path) -> int:
    digest = hashlib.sha256(file.relative_to(folder).as_posix().encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100
