"""Tuning: every arm chooses its setting on validation images, with the same number of trials."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.denoisers import Denoiser
from dipddpm.injection import Injection
from dipddpm.metrics.psnr import Psnr
from dipddpm.priors import Evidence, Prior
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.sampling import Solver

# A start from noise has no t0 to tune; so that its search is not the smaller one, it has more solvers to try.
START_SOLVERS: tuple[Solver, ...] = (("ddim", 0.0, 1), ("ddim", 1.0, 1), ("ddim", 1.0, 5), ("dpmpp_2m", 0.0, 1))
NOISE_SOLVERS: tuple[Solver, ...] = (
    *(("ddim", eta, 1) for eta in (0.0, 0.5, 0.85, 1.0)),
    *(("ddim", 1.0, travel) for travel in (2, 5, 10)),
    ("dpmpp_2m", 0.0, 1),
)

Hold = tuple[float, bool]
"""How a prediction is held to y: (strength of the proximal step, whether it is held at all)."""


@dataclass(frozen=True)
class Tuned:
    """The best setting at one budget and its mean PSNR (dB) on the validation images; -inf where all diverged."""

    setting: Setting
    validation: float


def candidates(
    nfe: int,
    injection: Injection,
    t0s: Sequence[int],
    solvers: Sequence[Solver],
    holds: Sequence[Hold] = ((1.0, True),),
) -> list[Setting]:
    """The settings of a grid that spend exactly ``nfe`` evaluations; for none at all, the prior alone.

    A single step adds no noise and has no history, so the solver is no choice there; time travel needs two steps.
    """
    if nfe == 0:
        return [Setting(0)]
    fitting = [
        (sampler, eta, travel)
        for sampler, eta, travel in ([("ddim", 0.0, 1)] if nfe == 1 else solvers)
        if nfe % travel == 0 and (travel == 1 or nfe // travel >= 2)
    ]
    return [
        Setting(nfe, injection, t0, sampler, eta, travel, strength, held)
        for t0 in t0s
        if t0 + 1 >= nfe
        for sampler, eta, travel in fitting
        for strength, held in holds
    ]


def draw_trials(settings: Sequence[Setting], trials: int, *purpose: object) -> list[Setting]:
    """``trials`` of the settings, at random but always the same ones; all of them if there are no more.

    Random search gives every arm the same number of trials whatever the size of its grid. The steps that an arm may
    enter at matter most and get their turns one after the other.
    """
    rng = random.Random("/".join(str(part) for part in purpose))
    at: dict[int | None, list[Setting]] = {}
    for setting in rng.sample(list(settings), len(settings)):
        at.setdefault(setting.t0, []).append(setting)
    turns = [members[turn] for turn in range(len(settings)) for _, members in sorted(at.items()) if turn < len(members)]
    return turns[:trials]


def tune(
    denoiser: Denoiser,
    priors: Sequence[Prior],
    evidence: Sequence[Evidence],
    x_0: Tensor,
    settings: Sequence[Setting],
    seeds: Sequence[int],
) -> dict[str, object]:
    """Run every setting on the validation images with the same noise; for each prior, the one with the best mean PSNR.

    The priors of several arms are one batch: they share photographs, observations and noise.

    Args:
        priors: one per arm; evidence: what each is made from, all of the same observations.
        x_0: (N, 3, H, W), the validation photographs.
        seeds: one per image, used afresh by each arm and setting.

    Returns:
        ``best``: per arm the position of its setting in ``settings``; ``validation``: its mean PSNR in dB.
    """
    arms = len(priors)
    made = [prior.mu(of) for prior, of in zip(priors, evidence, strict=True)]
    images = [mu for mu in made if mu is not None]
    mu = torch.cat(images) if images else None
    photographs, observation = x_0.repeat(arms, 1, 1, 1), evidence[0].observation.repeat(arms)
    results = []
    for setting in settings:
        x_hat, _ = restore(denoiser, observation, mu, setting, ImageRng([*seeds] * arms, x_0.device))
        results.append(Psnr()(x_hat, photographs).unflatten(0, (arms, -1)).mean(1))
    scores = torch.stack(results)
    # A setting that diverged is the worst, where ``max`` alone would return its NaN.
    validation, best = scores.masked_fill(scores.isnan(), -torch.inf).max(0)
    return {"best": best.tolist(), "validation": validation.tolist()}
