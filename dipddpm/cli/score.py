"""``dipddpm score``: what a population that ``dipddpm generate`` wrote is worth."""

from __future__ import annotations

import argparse

import torch

from dipddpm.data import SPLITS, open_dataset
from dipddpm.extractors import open_extractor
from dipddpm.generate import GeneratedImages
from dipddpm.population.scores import scores
from dipddpm.registry import choose


def run(args: argparse.Namespace) -> None:
    """``dipddpm score``."""
    wanted = [choose("split", split, SPLITS) for split in args.split.split("+")]
    splits = [split for split in SPLITS if split in wanted]
    extractor, images = open_extractor(args.extractor, args.device), GeneratedImages(args.folder, args.count)
    pixels = images.tensor()
    dataset = open_dataset(args.reference, args.data_root, pixels.shape[-1])
    features = {
        split: extractor.features(dataset.load(split)) for split in SPLITS if split in {*splits, "train", "test"}
    }
    reference = torch.cat([features[split] for split in splits])
    samples = extractor.features(pixels)
    found = scores(samples, reference, features["train"], extractor, args.split, held_out=features["test"])
    for name, score in found.items():
        print(f"{name}: {score.value:.4g}" + (" [{:.4g}, {:.4g}]".format(*score.interval) if score.interval else ""))
