"""cifar10: CIFAR-10 (Krizhevsky 2009) through torchvision, with every missing or damaged file named."""

from __future__ import annotations

import hashlib
import urllib.error
from pathlib import Path

import torch
from torch import Tensor

from dipddpm.data import Dataset, Split
from dipddpm.errors import InputError

FOLDER = "cifar-10-batches-py"
HELD_OUT = 5_000  # last images of the training half, kept for validation


class Cifar10(Dataset):
    """60,000 photographs of 32 px; the official test half is the test split."""

    name = "cifar10"
    licence = "no licence stated by its authors; research use with citation (Krizhevsky 2009)"
    how_to_get = "downloaded by torchvision on first use, or put cifar-10-batches-py under --data-root"

    def load(self, split: Split) -> Tensor:
        from torchvision.datasets import CIFAR10  # here: importing torchvision is slow, and few runs need it

        root = self.root or Path.home() / ".cache" / "dipddpm"
        folder = root / FOLDER
        if not folder.is_dir():
            self._download(root)
        self._check(folder)
        pixels = torch.from_numpy(CIFAR10(str(root), train=split != "test").data).permute(0, 3, 1, 2).contiguous()
        if self.size != 32:
            raise InputError(f"cifar10 has images of 32 px, {self.size} px were asked for")
        return {"train": pixels[:-HELD_OUT], "validation": pixels[-HELD_OUT:], "test": pixels}[split]

    @staticmethod
    def _download(root: Path) -> None:
        from torchvision.datasets import CIFAR10

        try:
            CIFAR10(str(root), download=True)
        except (urllib.error.URLError, RuntimeError, OSError) as error:
            raise InputError(
                f"cifar10: not in {root} and the download failed ({error}); "
                f"unpack cifar-10-python.tar.gz there, or use --data-root, or --dataset photo-patches"
            ) from error

    @staticmethod
    def _check(folder: Path) -> None:
        """torchvision reports missing and damaged files alike and names none: name each."""
        from torchvision.datasets import CIFAR10

        faults = []
        listed = [*CIFAR10.train_list, *CIFAR10.test_list, [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]]
        for name, md5 in listed:
            file = folder / name
            if not file.is_file():
                faults.append(f"{name} is missing")
            elif hashlib.md5(file.read_bytes()).hexdigest() != md5:
                faults.append(f"{name} is damaged (its md5 is not {md5})")
        if faults:
            raise InputError(f"cifar10 in {folder}: {'; '.join(faults)}; delete the folder to download it again")
