"""``dipddpm train-extractor``: a feature extractor, from classes of photographs."""

from __future__ import annotations

import argparse

import torch

from dipddpm.cli.options import provenance, writable
from dipddpm.data import open_dataset
from dipddpm.train_extractor import train_extractor


def run(args: argparse.Namespace) -> None:
    """``dipddpm train-extractor``."""
    writable(args.out)
    dataset = open_dataset(args.dataset)
    record = train_extractor(
        dataset, args.out, epochs=args.epochs, batch=args.batch, lr=args.lr, seed=args.seed,
        provenance=provenance(dataset.label) | {"threads": torch.get_num_threads()},
    )  # fmt: skip
    print(f"wrote {args.out} after {record['updates']} updates; held-out accuracy {record['held_out_accuracy']:.1%}")
