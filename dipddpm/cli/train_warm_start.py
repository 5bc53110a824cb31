"""``dipddpm train-warm-start``: the network of the prior ``learned``, from the photographs of a denoiser's training."""

from __future__ import annotations

import argparse

from dipddpm.cli.options import provenance, writable
from dipddpm.data import open_dataset
from dipddpm.train_warm_start import WarmStartSettings, train_warm_start


def run(args: argparse.Namespace) -> None:
    """``dipddpm train-warm-start``."""
    writable(args.out)
    dataset = open_dataset(args.dataset, args.data_root, args.size)
    settings = WarmStartSettings(
        args.steps, batch=args.batch, lr=args.lr, ema_decay=args.ema, seed=args.seed, tasks=args.task,
        channels=args.channels, blocks=args.blocks,
    )  # fmt: skip
    record = train_warm_start(
        dataset, args.out, settings, device=args.device, held_out=args.held_out,
        provenance=provenance(dataset.label) | {"device": args.device},
    )  # fmt: skip
    psnr = ", ".join(f"{name} {found['psnr']:.2f}" for name, found in record["calibration"].items())
    print(f"wrote {args.out} after {record['updates']} updates; dB on validation images: {psnr}")
