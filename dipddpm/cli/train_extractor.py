"""``dipddpm train-extractor``: a feature extractor, from classes of photographs."""

from __future__ import annotations

import argparse
import shlex
import sys

import torch

from dipddpm.cli.options import writable
from dipddpm.data import open_dataset
from dipddpm.train_extractor import train_extractor


def run(args: argparse.Namespace) -> None:
    """``dipddpm train-extractor``."""
    writable(args.out)
    dataset = open_dataset(args.dataset)
    provenance = {
        "command": "dipddpm " + shlex.join(sys.argv[1:]),
        "data": dataset.label,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    record = train_extractor(
        dataset, args.out, epochs=args.epochs, batch=args.batch, lr=args.lr, seed=args.seed, provenance=provenance
    )
    print(f"wrote {args.out} after {record['updates']} updates; held-out accuracy {record['held_out_accuracy']:.1%}")
