"""What ``fit`` and ``restore`` share: progress bars, the folder that is written, the contact sheet, the table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from tabulate import tabulate
from torch import Tensor

from dipddpm.cli.options import writable
from dipddpm.data import to_uint8
from dipddpm.errors import InputError
from dipddpm.paths import shown
from dipddpm.pictures import GivenMask, Picture, read_mask, read_picture
from dipddpm.progress import progress
from dipddpm.report.figures import picture_grid
from dipddpm.stopping import StoppingRule
from dipddpm.tasks import Observation, Task, task


class Watched(StoppingRule):
    """Moves a progress bar with each iteration of a fit; keeps nothing and stops nothing."""

    name: ClassVar[str] = "progress"

    def __init__(self, budget: int, x_0: Tensor | None):
        self._bar = progress(budget, "fitting the DIP")
        self.mu, self.charged = torch.empty(0), torch.empty(0)

    def see(self, iteration: int, output: Tensor) -> None:
        self.mu = output
        self._bar.update()
        if iteration == self._bar.total:
            self._bar.close()


def opened(args: argparse.Namespace) -> tuple[Picture, Task]:
    """The picture of the command line, and what is done to it.

    Raises:
        InputError: an unreadable picture or mask; a mask for a task that has none.
    """
    picture = read_picture(args.picture, args.size)
    if args.mask is None:
        return picture, task(args.task or "reconstruction")
    if args.task not in ("", "inpaint"):
        raise InputError(f"--mask is for --task inpaint, not {args.task}: leave one of them out")
    return picture, GivenMask(read_mask(args.mask, picture))


def what_is_seen(degradation: Task) -> str:
    """What a method is shown of the picture, in words."""
    return "all of the picture" if degradation.leak != "none" else degradation.description


def observed(args: argparse.Namespace, picture: Picture, degradation: Task) -> Observation:
    """y, on the device of the command line."""
    return degradation.observe(picture.x_0, picture.rng(args.seed, degradation.name)).to(args.device)


def folder_for(args: argparse.Namespace, ending: str) -> Path:
    """The folder that is written: ``--out``, or one named after the picture in the current folder."""
    folder = args.out or Path(f"{args.picture.stem}-{ending}")
    writable(folder / "contact-sheet.png")
    return folder


def pixels(x: Tensor) -> np.ndarray:
    """(1, 3, S, S) in [-1, 1] -> (S, S, 3) uint8."""
    return to_uint8(x.cpu())[0].permute(1, 2, 0).numpy()


def write(
    folder: Path, pictures: Mapping[str, Tensor], captions: Mapping[str, str], rows: Sequence[Mapping[str, Any]],
    title: str, as_json: bool,
) -> None:  # fmt: skip
    """Write the pictures one by one and side by side, and the table as JSON; print the table.

    Args:
        pictures: {name: (1, 3, S, S) in [-1, 1]}, in the order of the sheet.
        captions: {name: what stands below it}.
    """
    arrays = {name: pixels(x) for name, x in pictures.items()}
    for name, array in arrays.items():
        Image.fromarray(array).save(folder / f"{name.replace(' ', '-')}.png")
    columns = {name: array[None] for name, array in arrays.items()}
    texts = {name: [captions.get(name, "")] for name in columns}
    sheet = picture_grid(columns, texts, folder / "contact-sheet", title)
    text = json.dumps(rows, indent=1)
    (folder / "table.json").write_text(text + "\n", encoding="utf-8")
    if as_json:
        print(text)
        return
    print(tabulate([dict(row) for row in rows], headers="keys", floatfmt=".4g", missingval=""))
    print(f"wrote {shown(sheet)} and each picture beside it")
