"""``dipddpm generate`` and ``dipddpm score``: populations, and what they are worth."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from dipddpm.cli.options import add_device, count
from dipddpm.data import SPLITS, open_dataset
from dipddpm.denoisers import open_denoiser
from dipddpm.errors import InputError
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.generation import Generation
from dipddpm.generate import GeneratedImages, generate
from dipddpm.measure.instruments.timer import synchronised
from dipddpm.measure.store import Store
from dipddpm.priors import prior
from dipddpm.registry import choose
from dipddpm.restore import Setting
from dipddpm.sampling import SAMPLERS


def add(verbs: argparse._SubParsersAction) -> None:
    """The two verbs and their options."""
    p = verbs.add_parser("generate", help="sample a population into a folder; run again to go on, or for more")
    p.add_argument("--denoiser", default="unet", help="unet, unet:FILE.safetensors, diffusers:FOLDER_OR_HUB_NAME")
    p.add_argument("--count", type=count, required=True, help="images in the folder when done")
    p.add_argument("--out", type=Path, required=True, help="folder, of one configuration")
    p.add_argument("--nfe", type=count, default=50, help="network evaluations an image (default %(default)s)")
    p.add_argument("--sampler", choices=sorted(SAMPLERS), default="ddim", help="(default %(default)s)")
    p.add_argument("--eta", type=float, default=0.0, help="of ddim: 0 deterministic, 1 ancestral (default %(default)s)")
    p.add_argument("--prior-from", metavar="DATASET", help="photographs to make priors of (default: start from noise)")
    p.add_argument("--data-root", type=Path, help="where downloaded data sets lie")
    p.add_argument("--prior", default="dip", help="dip, blur, mean_colour, oracle (the photograph), ... (default dip)")
    p.add_argument("--t0", type=int, help="step that a prior enters at")
    p.add_argument("--dip-architecture", default="skip", help="(default %(default)s)")
    p.add_argument("--dip-iterations", type=count, default=100, help="(default %(default)s)")
    p.add_argument("--cache", type=Path, default=Path(".dipddpm/cache"), help="where DIP fits are kept")
    p.add_argument("--batch", type=count, default=64, help="images sampled together (default %(default)s)")
    p.add_argument("--worker", type=_worker, default=(0, 1), metavar="I/N", help="process I of N that share the folder")
    p.add_argument("--seed", type=int, default=0)
    add_device(p)
    p.set_defaults(verb=_generate)

    p = verbs.add_parser("score", help="FID or FD, KID, precision, recall, ... of a folder that generate wrote")
    p.add_argument("folder", type=Path, help="what `dipddpm generate --out` wrote")
    p.add_argument("--count", type=count, help="the first so many images (default: all)")
    p.add_argument("--reference", required=True, metavar="DATASET", help="real images: cifar10, folder:PATH, ...")
    p.add_argument("--data-root", type=Path, help="where downloaded data sets lie")
    p.add_argument("--split", default="train", help="of the reference; train+validation is all of both (default train)")
    p.add_argument("--extractor", default="embedded64", help="embedded64, inception-v3, inception-v3:WEIGHTS")
    add_device(p)
    p.set_defaults(verb=_score)


def _worker(text: str) -> tuple[int, int]:
    try:
        i, n = map(int, text.split("/"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"write I/N, such as 0/4, not {text!r}") from error
    return i, n


def _generate(args: argparse.Namespace) -> None:
    denoiser = open_denoiser(args.denoiser, args.device)
    if args.prior_from:
        longest = args.dip_iterations if prior(args.prior).uses_dip and args.prior != "untrained" else 0
        arm = Arm(args.prior, args.dip_architecture if prior(args.prior).uses_dip else "", longest)
        generation = Generation(
            open_dataset(args.prior_from, args.data_root, denoiser.size), denoiser,
            Store(args.cache, args.device).measured, iterations=[longest], seed=args.seed, device=args.device,
            clock=synchronised,
        )  # fmt: skip
        setting = generation.setting(arm, args.nfe, args.t0, args.sampler, args.eta)
        images = generation.stream(arm, setting, args.out, args.count, batch=args.batch, worker=args.worker)
    elif args.t0 is not None or args.nfe == 0:
        raise InputError("--t0 and --nfe 0 need a prior: say where its photographs are with --prior-from")
    else:
        images = generate(
            denoiser, args.count, args.out, Setting(args.nfe, sampler=args.sampler, eta=args.eta, held=False),
            seed=args.seed, batch=args.batch, worker=args.worker, device=args.device, clock=synchronised,
        )  # fmt: skip
    i, n = args.worker
    if n > 1:
        print(f"{args.out}: worker {i}/{n} wrote {images.written} images, its share of the {args.count} is there")
        return
    each = images.seconds / max(1, len(images))
    print(f"{args.out} holds {len(images)} images, {images.nfe} evaluations and {each:.3g} s of sampling each")


def _score(args: argparse.Namespace) -> None:
    from dipddpm.extractors import open_extractor  # here: torch-fidelity takes seconds to import
    from dipddpm.population.scores import scores

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
