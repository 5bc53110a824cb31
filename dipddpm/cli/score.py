"""``dipddpm score``: what a population that ``dipddpm generate`` wrote is worth."""

from __future__ import annotations

import argparse
import json

import torch

from dipddpm.data import SPLITS, open_dataset
from dipddpm.extractors import open_extractor
from dipddpm.generate import GeneratedImages
from dipddpm.population.scores import scores
from dipddpm.progress import steps
from dipddpm.registry import choose


def run(args: argparse.Namespace) -> None:
    """``dipddpm score``."""
    wanted = [choose("split", split, SPLITS) for split in args.split.split("+")]
    splits = [split for split in SPLITS if split in wanted]
    extractor, images = open_extractor(args.extractor, args.device), GeneratedImages(args.folder, args.count)
    pixels = images.tensor()
    dataset = open_dataset(args.reference, args.data_root, pixels.shape[-1])
    seen = [split for split in SPLITS if split in {*splits, "train", "test"}]
    with steps(*(f"features of {name}" for name in (*seen, "the images")), "scores") as begin_next:
        features = {}
        for split in seen:
            features[split] = extractor.features(dataset.load(split))
            begin_next()
        reference, samples = torch.cat([features[split] for split in splits]), extractor.features(pixels)
        begin_next()
        found = scores(samples, reference, features["train"], extractor, args.split, held_out=features["test"])
    if args.json:
        told = {name: {"value": score.value, "interval": score.interval} for name, score in found.items()}
        print(json.dumps(told, indent=1))
        return
    for name, score in found.items():
        print(f"{name}: {score.value:.4g}" + (" [{:.4g}, {:.4g}]".format(*score.interval) if score.interval else ""))
