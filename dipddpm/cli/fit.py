"""``dipddpm fit``: a Deep Image Prior on a picture of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dipddpm.cli.own_picture import Watched, folder_for, observed, opened, pixels, what_is_seen, write
from dipddpm.denoisers import open_denoiser
from dipddpm.fitting import DipFit
from dipddpm.paths import shown
from dipddpm.pictures import AtSize, fit_picture
from dipddpm.restore import score

FRAMES, PAUSE, LAST = 40, 120, 2000  # frames of a film, milliseconds of each, milliseconds of the last
WIDEST = 256  # pixels that a film is enlarged to, by a whole number


def run(args: argparse.Namespace) -> None:
    """Fit, write the pictures, print the table."""
    picture, degradation = opened(args)
    folder = folder_for(args, "fit")
    durations = sorted(set(args.iterations))
    frames = np.geomspace(1, max(*durations, 1), FRAMES).round().astype(int).tolist() if args.gif else []
    if not args.json:
        print(f"{picture.said}\nthe network sees: {what_is_seen(degradation)}")
    observation, denoiser = observed(args, picture, degradation), open_denoiser("unet", args.device)
    fit = fit_picture(
        picture, observation, args.architecture, args.fitting, [*durations, *frames], args.seed,
        AtSize(denoiser, picture.size), Watched,
    )  # fmt: skip

    shots = {n: fit.mu(n).cpu() for n in durations}
    rows = [_row(fit, n) | {m: v[0] for m, v in score(mu, picture.x_0).items()} for n, mu in shots.items()]
    sheet = {"picture": picture.x_0, "seen": observation.pinv} | {f"{n} iterations": mu for n, mu in shots.items()}
    captions = {f"{row['iterations']} iterations": f"{row['psnr']:.2f} dB" for row in rows}
    title = f"{args.architecture}, {args.fitting}: {what_is_seen(degradation)}"
    if args.gif:
        _film(fit, sorted({0, *frames} & set(fit.iterations)), folder / "film.gif")
    write(folder, sheet, captions, rows, title, args.json)
    if args.gif and not args.json:
        print(f"wrote {shown(folder / 'film.gif')}")


def _row(fit: DipFit, iterations: int) -> dict[str, object]:
    at = fit.iterations.index(iterations)
    return {"iterations": iterations, "seconds": fit.seconds[at], "loss": float(fit.loss[at, 0])}


def _film(fit: DipFit, durations: list[int], file: Path) -> None:
    """The outputs after some durations as a GIF, each with its number of iterations."""
    frames = []
    for n in durations:
        array = pixels(fit.mu(n))
        factor = max(1, WIDEST // len(array))
        frame = Image.fromarray(array.repeat(factor, axis=0).repeat(factor, axis=1))
        ImageDraw.Draw(frame).text((6, 4), str(n), fill="white", stroke_fill="black", stroke_width=2, font_size=18)
        frames.append(frame)
    pauses = [PAUSE] * (len(frames) - 1) + [LAST]
    frames[0].save(file, save_all=True, append_images=frames[1:], duration=pauses, loop=0)
