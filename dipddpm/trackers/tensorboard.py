"""tensorboard: event files in a folder, written by PyTorch's own writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dipddpm.trackers import Tracker


class TensorBoard(Tracker):
    """Scalars by step, texts, and the pictures among the files: event files hold no others."""

    name = "tensorboard"
    takes = "DIR"
    meaning = "event files of TensorBoard in this folder, for `tensorboard --logdir DIR`"
    needs = "tensorboard"
    extra = "tensorboard"

    def __init__(self, where: str, title: str):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(where)
        self._writer.add_text("title", title)

    def settings(self, values: Mapping[str, str]) -> None:
        rows = "\n".join(f"| {name} | {value} |" for name, value in values.items())
        self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}")

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # its thread has nothing left to do then

    def texts(self, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            self._writer.add_text(name, value)
        self._writer.flush()

    def files(self, paths: Sequence[Path]) -> None:
        import numpy as np
        from PIL import Image

        for path in paths:
            if path.suffix == ".png":
                with Image.open(path) as picture:
                    self._writer.add_image(path.stem, np.asarray(picture.convert("RGB")), dataformats="HWC")
            elif path.suffix == ".md":
                self._writer.add_text(path.stem, path.read_text(encoding="utf-8"))

    def close(self) -> None:
        self._writer.close()
