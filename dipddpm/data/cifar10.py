"""cifar10: CIFAR-10 (Krizhevsky 2009) in its official pickles, read without executing anything that they hold."""

from __future__ import annotations

import hashlib
import pickle
import urllib.error
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipddpm.data import Dataset, Split
from dipddpm.documents import brief
from dipddpm.errors import InputError

FOLDER = "cifar-10-batches-py"
HELD_OUT = 5_000  # last images of the training half, kept for validation
LONGEST_TYPE = 16  # characters of the name of a type of numbers, such as u1
TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = ("test_batch",)
MD5: Mapping[str, str] = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
"""Of the official files; batches.meta is checked with the others, and never opened."""


class Cifar10(Dataset):
    """60,000 photographs of 32 px; the official test half is the test split."""

    name = "cifar10"
    licence = "no licence stated by its authors; research use with citation (Krizhevsky 2009)"
    known_copies = "about 3 % of its test images are in its training half too (Barz and Denzler 2020, ciFAIR)"
    how_to_get = "downloaded by torchvision on first use, or put cifar-10-batches-py under --data-root"

    @staticmethod
    def needs(root: Path | None) -> Path:
        """The folder that has to be there, or is downloaded."""
        return (root or Path.home() / ".cache" / "dipddpm") / FOLDER

    def load(self, split: Split) -> Tensor:
        if self.size != 32:
            raise InputError(f"cifar10 has images of 32 px, {self.size} px were asked for")
        root = self.root or Path.home() / ".cache" / "dipddpm"
        folder = root / FOLDER
        if not folder.is_dir():
            self._download(root)
        self._check(folder)
        pixels = torch.cat([read_batch(folder / name) for name in (TEST if split == "test" else TRAIN)])
        return {"train": pixels[:-HELD_OUT], "validation": pixels[-HELD_OUT:], "test": pixels}[split]

    def photographs(self, split: Split) -> list[str]:
        """The position of every image in its split: each is a photograph of its own."""
        return [f"{split} {i}" for i in range(len(self.images(split)))]

    @staticmethod
    def _download(root: Path) -> None:
        # Here, since importing torchvision is slow. Its CIFAR10 class would unpickle what it downloads: not asked.
        from torchvision.datasets import CIFAR10
        from torchvision.datasets.utils import download_and_extract_archive

        try:
            download_and_extract_archive(CIFAR10.url, str(root), filename=CIFAR10.filename, md5=CIFAR10.tgz_md5)
        except (urllib.error.URLError, RuntimeError, OSError) as error:
            raise InputError(
                f"cifar10: not in {root} and the download failed ({error}); "
                f"unpack cifar-10-python.tar.gz there, or use --data-root, or --dataset photo-patches"
            ) from error

    @staticmethod
    def _check(folder: Path) -> None:
        """Name each file that is missing or damaged, not the first one only."""
        faults = []
        for name, md5 in MD5.items():
            file = folder / name
            if not file.is_file():
                faults.append(f"{name} is missing")
            elif hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() != md5:
                faults.append(f"{name} is damaged (its md5 is not {md5})")
        if faults:
            raise InputError(f"cifar10 in {folder}: {'; '.join(faults)}; delete the folder to download it again")


def read_batch(file: Path) -> Tensor:
    """The images of one pickled batch, (N, 3, 32, 32) uint8.

    Raises:
        InputError: the pickle asks for anything but an array, or holds no (N, 3072) bytes of images.
    """
    try:
        with file.open("rb") as opened:
            content = _ArraysOnly(opened, encoding="latin1").load()
    except Exception as error:  # a pickle that is none fails in as many ways as there are bytes
        raise InputError(f"cifar10: {file} is no batch of CIFAR-10 ({brief(error)})") from error
    data = content.get("data", content.get(b"data")) if isinstance(content, dict) else None
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * 32 * 32:
        held = f"{data.dtype} of shape {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise InputError(f"cifar10: the data of {file} must be uint8 of shape (N, 3072), it is {held}")
    return torch.from_numpy(data.reshape(-1, 3, 32, 32))


def _latin1(text: str, encoding: str) -> bytes:
    """What protocol 2 of Python 3 calls to make bytes, and nothing else that ``codecs.encode`` can do."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding!r}")
    return text.encode("latin1")


def _new_array(kind: object, shape: object, code: object) -> np.ndarray:
    """The empty array that a pickle fills afterwards, with a shape, a type and bytes."""
    return np.empty(0, np.uint8)


def _plain_dtype(*args: object, **options: object) -> np.dtype:
    """A type of numbers. The bytes of an array of objects are addresses, which numpy would follow."""
    name, *rest = args
    if options or not isinstance(name, str) or len(name) > LONGEST_TYPE or any(a not in (0, 1) for a in rest):
        raise pickle.UnpicklingError("a type of numbers that numpy does not write")
    made = np.dtype(name)
    if made.hasobject or made.names or made.subdtype or made.kind not in "biufSU":
        raise pickle.UnpicklingError(f"an array of {made}")
    return made


class _ArraysOnly(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """Builds arrays, texts, numbers, lists and dictionaries; every other name that a pickle asks for is refused.

    It is the unpickler that is written in Python: the one in C makes a table of all numbers up to the largest one that
    a pickle gives an object, and four damaged bytes ask for 16 GB. A batch has a dozen objects.
    """

    allowed: Mapping[tuple[str, str], object] = {
        ("numpy.core.multiarray", "_reconstruct"): _new_array,  # as numpy 1 writes it, and the official files have it
        ("numpy._core.multiarray", "_reconstruct"): _new_array,  # as numpy 2 does
        ("numpy", "ndarray"): None,  # the first argument of the line above, and nothing to be called
        ("numpy", "dtype"): _plain_dtype,
        ("_codecs", "encode"): _latin1,
    }

    def find_class(self, module: str, name: str) -> object:
        try:
            return self.allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused unexecuted") from None
