"""``dipddpm generate``: a population, sampled into a folder."""

from __future__ import annotations

import argparse

from dipddpm.cli.options import writable_folder
from dipddpm.data import open_dataset
from dipddpm.denoisers import open_denoiser
from dipddpm.errors import InputError
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.generation import Generation
from dipddpm.experiments.recipes import Recipe
from dipddpm.generate import Diverged, generate
from dipddpm.measure.exit_codes import DIVERGED
from dipddpm.measure.instruments.timer import synchronised
from dipddpm.measure.store import Store
from dipddpm.priors import prior
from dipddpm.restore import Setting

EXIT_CODES = {Diverged: DIVERGED}


def run(args: argparse.Namespace) -> None:
    """``dipddpm generate``."""
    writable_folder(args.out, "--out")
    if args.prior_from:
        writable_folder(args.cache, "--cache")
    denoiser = open_denoiser(args.denoiser, args.device, args.precision, args.compile)
    if args.prior_from:
        start = prior(args.prior)
        longest = args.dip_iterations if start.iterations is None else start.iterations
        arm = Arm(start, Recipe(args.dip_architecture), longest) if start.uses_dip else Arm(start)
        generation = Generation(
            open_dataset(args.prior_from, args.data_root, denoiser.size), denoiser,
            Store(args.cache, args.device).measured, iterations=[arm.iterations], seed=args.seed, device=args.device,
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
