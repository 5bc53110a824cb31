"""Pictures of restorations in one file: a PNG that holds every picture at its own size, and says what they are.

Rows are images and columns are what was made of them. A reader of the file needs nothing else: titles, columns, cases
and captions are a text of the PNG.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dipddpm.measure.files import write_atomically

PREFIX = "pictures-"  # how the names of such files begin
_TEXT = "dipddpm"  # under which a PNG holds the description


@dataclass(frozen=True)
class PictureSheet:
    """What a sheet of pictures shows.

    Attributes:
        group: the task; title: what it does.
        columns: what stands in each column. The first is the target, with which all others are compared.
        cases: why each row is shown.
        captions: {column: one text per row}; columns without captions are missing.
        size: (height, width) of each picture.
        file: where the PNG lies.
    """

    group: str
    title: str
    columns: Sequence[str]
    cases: Sequence[str]
    captions: Mapping[str, Sequence[str]]
    size: tuple[int, int]
    file: Path = Path()


def cases(gains: Sequence[float], first: int = 2, each: int = 2) -> dict[str, int]:
    """{why it is shown: index} of the images that a reader should see: the first ones, which nobody chose, and those
    where the gain is largest, nearest the median, and smallest.

    Args:
        gains: (N,), one per image; NaN is never shown as a case.
        first: how many of the first; each: how many of every kind.
    """
    order = [int(i) for i in np.argsort(gains) if np.isfinite(gains[i])]
    middle = max(0, len(order) // 2 - each // 2)
    kinds = {"best gain": order[::-1][:each], "median gain": order[middle : middle + each], "worst gain": order[:each]}
    made: dict[str, int] = {}
    for kind, members in {"first images": range(min(first, len(gains))), **kinds}.items():
        for i in members:
            if i not in made.values():
                made[f"{kind}: image {i}"] = i
    return made


def write_sheet(sheet: PictureSheet, pictures: Mapping[str, np.ndarray], path: Path) -> Path:
    """Write ``pictures``, {column: (rows, H, W, 3) uint8}, as the PNG ``path``; without dates.

    Raises:
        ValueError: pictures or captions do not fit the columns and rows of ``sheet``.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    shape = (len(sheet.cases), *sheet.size, 3)
    if list(pictures) != list(sheet.columns) or any(p.shape != shape or p.dtype != np.uint8 for p in pictures.values()):
        found = {name: p.shape for name, p in pictures.items()}
        raise ValueError(f"pictures {found} do not fit a sheet of {list(sheet.columns)} with {shape} uint8 each")
    for name, texts in sheet.captions.items():
        if name not in pictures or len(texts) != len(sheet.cases):
            raise ValueError(f"captions of {name!r}: {len(texts)} texts, expected {len(sheet.cases)} for a column")
    whole = np.concatenate([np.concatenate(list(pictures[name]), axis=0) for name in sheet.columns], axis=1)
    info = PngInfo()
    described = {name: value for name, value in asdict(sheet).items() if name != "file"}
    info.add_itxt(_TEXT, json.dumps(described, ensure_ascii=False))
    image = Image.fromarray(whole)
    write_atomically(path, partial(image.save, format="PNG", pnginfo=info, optimize=True))
    return path


def read_sheet(path: Path) -> PictureSheet | None:
    """What :func:`write_sheet` wrote; None for a file that is no sheet of pictures, or a damaged one."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            text = json.loads(getattr(image, "text", {})[_TEXT])
            size, shape = tuple(text["size"]), (image.height, image.width)
        sheet = PictureSheet(**text | {"size": size, "file": path})
        fits = shape == (size[0] * len(sheet.cases), size[1] * len(sheet.columns))
        fits &= all(len(texts) == len(sheet.cases) for texts in sheet.captions.values())
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return sheet if fits else None
