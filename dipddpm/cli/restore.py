"""``dipddpm restore``: a picture of one's own, from noise, from a DIP and from cheap rivals, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from torch import Tensor

from dipddpm.cli.own_picture import Watched, folder_for, observed, opened, write
from dipddpm.denoisers import open_denoiser
from dipddpm.errors import InputError
from dipddpm.pictures import AtSize, Row, evaluations, fit_picture, is_noise, named_prior, restore_picture
from dipddpm.progress import progress


def run(args: argparse.Namespace) -> None:
    """Degrade, restore with every arm, write the pictures, print the table."""
    if args.observed and args.mask is None:
        raise InputError("--observed needs --mask: white where the picture is damaged")
    picture, degradation = opened(args)
    if degradation.leak != "none":
        raise InputError(f"--task {args.task} leaves the picture as it is: nothing is to be restored")
    folder = folder_for(args, "restored")
    observation, denoiser = observed(args, picture, degradation), open_denoiser(args.denoiser, args.device)
    arms = [named_prior(name, observation) for name in dict.fromkeys(args.arms)]
    if not args.json:
        print(f"{picture.said}\nrestored from: {degradation.description}")
        if picture.size != denoiser.size:
            print(f"the denoiser was trained at {denoiser.size} px and runs on all {picture.size} px at once")

    def fitted(iterations: int | None) -> tuple[Tensor, float]:
        duration = args.iterations if iterations is None else iterations
        fit = fit_picture(
            picture, observation, args.architecture, args.fitting, [duration], args.seed,
            AtSize(denoiser, picture.size), Watched,
        )  # fmt: skip
        return fit.mu(duration), fit.seconds[-1]

    rows: list[Row] = []
    with progress(evaluations(arms, args.nfe), "network evaluations") as bar:
        watched = AtSize(denoiser, picture.size, bar.update)
        for arm in arms:
            rows += restore_picture(picture, observation, arm, fitted, watched, args.nfe, args.t0, args.seed)
    truth = None if args.observed else picture.x_0
    scored = {row.name: row.scores(truth) for row in rows}
    table = [{"arm": row.name, "NFE": row.nfe, "seconds": row.seconds, **scored[row.name]} for row in rows]
    sheet = {} if args.observed else {"picture": picture.x_0}
    sheet |= {"seen": observation.pinv} | {row.name: row.x_hat for row in rows}
    captions = {row.name: _caption(row, scored[row.name]) for row in rows}
    write(folder, sheet, captions, table, f"{degradation.description}; {args.nfe} evaluations", args.json)
    if not args.json and any(map(is_noise, arms)):
        print("NFE: network evaluations. One picture and one setting prove nothing: `dipddpm bench` tunes every arm.")


def _caption(row: Row, scores: Mapping[str, float]) -> str:
    quality = [f"{scores['psnr']:.2f} dB"] if scores else []
    return ", ".join([*quality, f"{row.seconds:.1f} s"])
