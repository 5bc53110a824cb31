"""The picture grid: restored images side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dipddpm.report.figures.canvas import DPI, WIDTH, save, style
from dipddpm.report.words import words

GAP, WIDEST = 0.05, 1.6  # inches: space between pictures; width of a picture, unless its own pixels need more


def picture_grid(
    columns: Mapping[str, np.ndarray],
    captions: Mapping[str, Sequence[str]] | None,
    path_stem: Path,
    title: str,
) -> Path:
    """Draw pictures side by side, one row per image, every pixel as a sharp square; as PNG and SVG.

    Args:
        columns: {heading: (N, H, W, 3) uint8}, the same shape in each.
        captions: {heading: N texts}, one under each picture; a column without captions may be left out.
        path_stem: path without suffix.

    Returns:
        The path of the PNG.

    Raises:
        ValueError: there is no picture, columns differ in shape or type, or captions do not fit.
    """
    captions = captions or {}
    rows, height, width = _checked(columns, captions)
    # Pictures are enlarged by a whole number at the resolution of the PNG, so that all their pixels are equally wide.
    factor = max(1, int(min(WIDTH / len(columns), WIDEST) * DPI / width))
    across, down = width * factor / DPI, height * factor / DPI
    # A grid wider than a page will be scaled down to it, together with its text: the text is larger by as much.
    size = 8 * max(1.0, len(columns) * across / WIDTH)
    line = 1.35 * size / 72
    headings = [textwrap.fill(words(name), max(4, int(across * 72 / (0.6 * size)))) for name in columns]
    titles = textwrap.wrap(title, max(12, int(len(columns) * (across + GAP) * 72 / (0.62 * 1.15 * size))))
    head = 1.3 * line * len(titles) + line * (max(heading.count("\n") for heading in headings) + 1.4)
    foot = line * 1.25 if captions else GAP
    whole = np.array([len(columns) * (across + GAP) + GAP, head + rows * (down + foot) + GAP])

    with style():
        figure = Figure(figsize=tuple(whole), dpi=DPI)
        top = 1 - 0.3 * line / whole[1]
        figure.text(GAP / whole[0], top, "\n".join(titles), va="top", fontsize=1.15 * size)
        for i, (name, heading) in enumerate(zip(columns, headings, strict=True)):
            for row in range(rows):
                corner = np.array([GAP + i * (across + GAP), whole[1] - head - row * (down + foot) - down])
                corner = np.round(corner * DPI) / DPI  # on whole pixels, for the same reason as the factor
                axes = figure.add_axes((*(corner / whole), across / whole[0], down / whole[1]))
                axes.set_axis_off()
                picture = columns[name][row].repeat(factor, axis=0).repeat(factor, axis=1)
                axes.imshow(picture, interpolation="none", aspect="auto")
                if row == 0:
                    axes.set_title(heading, fontsize=size, pad=0.3 * size)
                if name in captions:
                    axes.annotate(
                        captions[name][row], (0.5, 0), (0, -0.15 * size), xycoords="axes fraction",
                        textcoords="offset points", ha="center", va="top", fontsize=size,
                    )  # fmt: skip
        return save(figure, path_stem)


def _checked(columns: Mapping[str, np.ndarray], captions: Mapping[str, Sequence[str]]) -> tuple[int, int, int]:
    shape = next((pictures.shape for pictures in columns.values()), (0,))
    if len(shape) != 4 or 0 in shape or shape[-1] != 3:
        raise ValueError(f"pictures are (N, H, W, 3) with N > 0, not {shape}")
    for name, pictures in columns.items():
        if pictures.shape != shape or pictures.dtype != np.uint8:
            raise ValueError(f"column {name!r} is {pictures.shape} {pictures.dtype}, expected {shape} uint8")
    for name, texts in captions.items():
        if name not in columns or len(texts) != shape[0]:
            raise ValueError(f"captions of {name!r}: {len(texts)} texts, expected {shape[0]} for a column")
    return shape[0], shape[1], shape[2]
