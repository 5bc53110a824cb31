"""folder:PATH: the user's own images, flat or as torchvision's ImageFolder (one sub-folder a class)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dipddpm.data import SPLITS, Dataset, Split
from dipddpm.documents import brief
from dipddpm.errors import InputError
from dipddpm.notes import say_once
from dipddpm.paths import shown
from dipddpm.rng import image_keys

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # as torchvision reads
PERCENT: dict[Split, range] = {"test": range(10), "validation": range(10, 20), "train": range(20, 100)}
FOLDERS: Mapping[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("val", "valid", "validation"),
    "test": ("test",),
}
"""Names of sub-folders that hold a split, in upper or lower case."""
UNSEEN = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")
"""Folders that file managers fill with copies and thumbnails and do not show, as those with a dot before the name."""
ORIENTATION = 0x0112  # of EXIF, section 4.6.4
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Folder(Dataset):
    """Every image below a folder, centre-cropped to a square and resized, as a viewer shows it: turned as its EXIF
    data say, transparent pixels on white, grey of 16 bits scaled to 8. Hidden files are left out, and links to folders
    are followed.

    Splits: sub-folders ``train``, ``val`` (``valid``, ``validation``) and ``test`` are taken as they stand, in upper or
    lower case. Where ``train`` and ``test`` have no ``val`` beside them, a tenth of ``train`` is for validation.
    Where there is ``train`` and ``val`` alone, no split is for testing. Without any of them, a file belongs to a split
    by the hash of its path below the folder, so that adding a file moves no other.

    No image is in two splits, whatever its files are called: one whose pixels equal those of a test image is left out
    of the other two, and one whose pixels equal those of a validation image out of ``train``.
    """

    name = "folder"
    takes_location = True
    licence = "the owner's"
    how_to_get = "your own images: folder:PATH"

    @property
    def label(self) -> str:
        """``folder:`` and the last two parts of the path: enough to know it by, nothing of the machine."""
        return "folder:" + shown("/".join(Path(self.location or "").parts[-2:]))

    def load(self, split: Split) -> Tensor:
        files = self._not_empty(split)
        if not files:
            kinds = ", ".join(IMG_EXTENSIONS)
            raise InputError(
                f"folder {shown(self.location or '')}: no image for the {split} split ({kinds}){self._missing(split)}"
            )
        images = torch.stack([self._read(file) for file in files])
        copies = self._in_earlier_splits(split, images)
        if copies:
            earlier = " or ".join(_earlier(split))
            say_once(
                f"{self.label}: {len(copies)} of {len(files)} {split} images left out, whose pixels equal those of "
                f"{earlier} images"
            )
            if len(copies) == len(files):
                raise InputError(
                    f"{self.label}: no {split} image is left, since all {len(files)} equal {earlier} images; "
                    f"remove the copies"
                )
            own = [i for i in range(len(files)) if i not in copies]
            files, images = [files[i] for i in own], images[own]
        self._without_copies[split] = files
        return images

    def photographs(self, split: Split) -> list[str]:
        """The path of every file below the folder: each is a photograph of its own."""
        kept: dict[Split, list[str]] = vars(self).setdefault("_names", {})  # walking a large folder takes seconds
        if split not in kept:
            kept[split] = [shown(file.relative_to(self.location or "")) for file in self.files(split)]
        return kept[split]

    def files(self, split: Split) -> list[Path]:
        """Paths of a split's images, sorted.

        Raises:
            InputError: no such folder, or no image in it; sub-folders that are some of the splits but not all.
        """
        files = self._not_empty(split)
        if files and any(self._listed(earlier) for earlier in _earlier(split)):
            if split not in self._without_copies:
                self.images(split)
            return self._without_copies[split]
        return files

    def count(self, split: Split) -> int:
        """How many files a split has, copies of images of other splits included. None is opened."""
        return len(self._listed(split))

    def place_of(self, split: Split) -> Path:
        """The folder that the images of a split lie in, or their class folders do."""
        folder, splits = Path(self.location or ""), self._split_folders()
        return splits.get(split, splits.get("train", folder))

    @property
    def _without_copies(self) -> dict[Split, list[Path]]:
        return vars(self).setdefault("_own", {})

    def _in_earlier_splits(self, split: Split, images: Tensor) -> set[int]:
        """Which of the images are in a split that comes before, and so are not in this one.

        The smaller splits come first: a test image does not depend on what else there is, and to know those of
        ``test`` the many of ``train`` need not be read.
        """
        taken: set[str] = set()
        for earlier in _earlier(split):
            if self._listed(earlier):
                taken.update(image_keys(self.images(earlier)))
        return {i for i, key in enumerate(image_keys(images)) if key in taken} if taken else set()

    def _listed(self, split: Split) -> list[Path]:
        """Paths of a split's images, sorted, copies included."""
        kept: dict[Split, list[Path]] = vars(self).setdefault("_walked", {})
        if not kept:
            kept.update(self._walk_splits())
        return kept[split]

    def _not_empty(self, split: Split) -> list[Path]:
        """:meth:`_listed`, unless the split has a folder without an image."""
        files, splits = self._listed(split), self._split_folders()
        if not files and split in splits:
            raise _no_image(splits[split])
        return files

    def _walk_splits(self) -> dict[Split, list[Path]]:
        folder, splits = Path(self.location or ""), self._split_folders()
        if not splits:
            if not (files := sorted(_walk([folder])[folder])):
                raise _no_image(folder)
            return {split: [f for f in files if _percent(f, folder) in PERCENT[split]] for split in SPLITS}
        walked = _walk(list(splits.values()))
        found: dict[Split, list[Path]] = {split: sorted(walked[place]) for split, place in splits.items()}
        if "validation" not in splits:
            parts, whole = PERCENT["validation"], found["train"]
            found["validation"] = [f for f in whole if _percent(f, folder) in parts]
            found["train"] = [f for f in whole if _percent(f, folder) not in parts]
        return {split: found.get(split, []) for split in SPLITS}

    def _split_folders(self) -> dict[Split, Path]:
        """The sub-folders that are splits; empty where there are none.

        Raises:
            InputError: no such folder; two sub-folders for one split; not enough of them to tell what is tested on.
        """
        folder = Path(self.location or "")
        if not folder.is_dir():
            raise InputError(f"folder {shown(folder)}: no such folder")
        found: dict[Split, Path] = {}
        for place, is_folder in _entries(folder):
            split = next((s for s, names in FOLDERS.items() if place.name.lower() in names), None)
            if split is None or not is_folder:
                continue
            if split in found:
                raise InputError(
                    f"folder {shown(folder)}: {found[split].name} and {place.name} both are its {split} split; "
                    f"rename one of them"
                )
            found[split] = place
        if found and not {"train", "test"} <= set(found) and not {"train", "validation"} <= set(found):
            (one, *_), names = found.values(), ", ".join(f"{place.name}/" for place in found.values())
            raise InputError(
                f"folder {shown(folder)}: holds {names} and not which images are its other splits; name the "
                f"sub-folders train, val and test, or rename {one.name} if it is a class"
            )
        return found

    def _missing(self, split: Split) -> str:
        """What to do about a split that has no folder."""
        folders = self._split_folders()
        if not folders:
            every, share = sum(self.count(one) for one in SPLITS), len(PERCENT[split])
            return (
                f": it takes {share} % of a folder by the hash of each path, and got none of these {every}; "
                f"add images, or sort them into sub-folders train, val and test"
            )
        if split in folders:
            return ""
        names = " and ".join(f"{place.name}/" for place in folders.values())
        return f": it holds {names}, no {split}/; make one, as images of {folders['train'].name}/ are only trained on"

    def _read(self, file: Path) -> Tensor:
        image = ImageOps.fit(photograph(file), (self.size, self.size), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def photograph(file: Path) -> Image.Image:
    """A picture in RGB as a viewer shows it.

    Raises:
        InputError: it cannot be read; the message names the file.
    """
    try:
        with Image.open(file) as opened:
            opened.load()  # a TIFF file is turned upright by this, and others tell all their EXIF data only then
            return _on_white(_upright(_eight_bits(opened, file), opened))
    except InputError:
        raise
    except Exception as error:  # a damaged image fails in as many ways as there are formats
        why = brief(error)
        raise InputError(f"{shown(file)}: not a readable image; remove it or replace it ({why})") from error


def _earlier(split: Split) -> tuple[Split, ...]:
    """The splits that an image goes to rather than to this one."""
    return SPLITS[SPLITS.index(split) + 1 :][::-1]


def _walk(tops: Sequence[Path]) -> dict[Path, list[Path]]:
    """The images below each of some folders, in no order that matters.

    Links to folders are followed, as torchvision's ImageFolder does. Each folder is read once, so that loops end: by
    its own path where that lies below one of ``tops``, else by the first link to it.
    """
    found: dict[Path, list[Path]] = {top: [] for top in tops}
    real, linked = list[tuple[Path, Path]](), list[tuple[Path, Path]]()
    for top in tops:
        (linked if top.is_symlink() else real).append((top, top))
    seen: set[str] = set()
    while real or linked:
        top, folder = real.pop() if real else linked.pop(0)
        place = os.path.realpath(folder)
        if place in seen:
            continue
        seen.add(place)
        for entry, is_folder in _entries(folder):
            if is_folder:
                (linked if entry.is_symlink() else real).append((top, entry))
            elif entry.suffix.lower() in IMG_EXTENSIONS and entry.is_file():
                found[top].append(entry)
    return found


def _entries(folder: Path) -> list[tuple[Path, bool]]:
    """What lies in a folder, by name, without what is hidden; and whether it is a folder, or a link to one."""
    try:
        entries = [e for e in sorted(folder.iterdir()) if not e.name.startswith(".") and e.name not in UNSEEN]
        return [(entry, entry.is_dir()) for entry in entries]
    except OSError as error:
        raise InputError(f"folder {shown(folder)}: cannot be read ({error.strerror})") from error


def _no_image(folder: Path) -> InputError:
    return InputError(f"folder {shown(folder)}: holds no image ({', '.join(IMG_EXTENSIONS)})")


def _eight_bits(image: Image.Image, file: Path) -> Image.Image:
    """A grey image of 16 bits a value scaled to 8, where Pillow would cut all but the darkest off as white."""
    # PNG and PPM have no more than 16 bits, also where Pillow holds them in 32
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    if image.mode in ("I", "F"):
        raise InputError(
            f"{shown(file)}: nothing says which value is white in mode {image.mode} (32 bits); save it as 8-bit"
        )
    return image


def _upright(image: Image.Image, opened: Image.Image) -> Image.Image:
    """``image`` turned and mirrored as the EXIF data of the file ``opened`` say."""
    try:
        method = UPRIGHT.get(opened.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF data fail in many ways; a viewer shows the image all the same
        return image
    return image if method is None else image.transpose(method)


def _on_white(image: Image.Image) -> Image.Image:
    """The image in RGB. White shows through where it is transparent, as on a page; its hidden colours do not count."""
    key = image.info.get("transparency", 256)  # a colour, a number of a palette, or the alpha of each
    of_8_bits = isinstance(key, bytes) or max(key if isinstance(key, tuple) else (key,)) < 256
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or of_8_bits:
        layered = image.convert("RGBA")
        alpha = layered.getchannel("A").getextrema()[0]
        if isinstance(alpha, int | float) and alpha < 255:
            return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    return image.convert("RGB")


def _percent(file: Path, folder: Path) -> int:
    # the bytes of the name, whether they are UTF-8 or not
    digest = hashlib.sha256(file.relative_to(folder).as_posix().encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:4], "big") % 100
