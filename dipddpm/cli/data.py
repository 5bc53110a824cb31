"""``dipddpm data``: what data sets there are, and what the splits of one hold."""

from __future__ import annotations

import argparse
import json

from tabulate import tabulate

from dipddpm.data import SPLITS, datasets, open_dataset
from dipddpm.data.split_leaks import leaks_of_splits, warn_of_leaks
from dipddpm.errors import InputError


def run(args: argparse.Namespace) -> None:
    """List the data sets, or read one as a run would."""
    rows: list[dict[str, str | int]]
    if not args.name:
        rows = [
            {"name": name + (":PATH" if kind.takes_location else ""), "licence": kind.licence, "from": kind.how_to_get}
            for name, kind in datasets().items()
        ]
    else:
        dataset = open_dataset(args.name, args.data_root, args.size)
        rows = []
        for split in SPLITS:
            try:
                photographs = dataset.photographs(split)
            except InputError as error:  # a folder that is only trained on lacks the others: they are named, too
                rows.append({"split": split, "images": 0, "photographs": 0, "note": str(error)})
            else:
                count = len(dataset.images(split))
                rows.append({"split": split, "images": count, "photographs": len(set(photographs)), "note": ""})
        if not any(row["images"] for row in rows):
            raise InputError(str(rows[0]["note"]))
        warn_of_leaks(dataset.label, leaks_of_splits(dataset))
    print(json.dumps(rows, indent=1) if args.json else tabulate(rows, headers="keys"))
