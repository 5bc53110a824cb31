"""``dipddpm train-educated``: the weights of the fitting method ``educated``, from a denoiser's training images."""

from __future__ import annotations

import argparse

from dipddpm.cli.options import provenance, writable
from dipddpm.data import open_dataset
from dipddpm.train_educated import EducatedSettings, train_educated


def run(args: argparse.Namespace) -> None:
    """``dipddpm train-educated``."""
    writable(args.out)
    dataset = open_dataset(args.dataset, args.data_root, args.size)
    settings = EducatedSettings(
        args.steps, batch=args.batch, lr=args.lr, ema_decay=args.ema, seed=args.seed, tasks=args.task, width=args.width
    )
    record = train_educated(
        dataset, args.out, settings, device=args.device, held_out=args.held_out,
        provenance=provenance(dataset.label) | {"device": args.device},
    )  # fmt: skip
    found = ", ".join(f"{name} {db:.2f}" for name, db in record["psnr"].items())
    print(f"wrote {args.out} after {record['updates']} updates; dB on validation images before a fit: {found}")
