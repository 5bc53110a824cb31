"""Tuning: every arm chooses its setting on validation images, with the same number of trials, once for each judge.

A judge is a metric. The setting that restores with the least error is seldom the one that looks most natural (Blau and
Michaeli 1711.06077). So an arm that is compared with others by a judge is tuned for that judge.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dipddpm.denoisers import Denoiser
from dipddpm.errors import InputError
from dipddpm.injection import Injection
from dipddpm.metrics import Metric
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.sampling import Solver
from dipddpm.schedule import Schedule
from dipddpm.tasks import Observation

# A start from noise has no t0 to tune. It has more solvers to try, so that its search space is not the smaller one.
START_SOLVERS: tuple[Solver, ...] = (
    ("ddim", 0.0, 1), ("ddim", 1.0, 1), ("ddim", 1.0, 5), ("dpmpp_2m", 0.0, 1), ("renoise", 0.7, 1), ("daps", 0.0, 1),
)  # fmt: skip
NOISE_SOLVERS: tuple[Solver, ...] = (
    *(("ddim", eta, 1) for eta in (0.0, 0.85, 1.0)),
    *(("ddim", 1.0, travel) for travel in (2, 5, 10)),
    ("dpmpp_2m", 0.0, 1),
    *(("renoise", eta, 1) for eta in (0.7, 0.85)),
    *(("daps", eta, 1) for eta in (0.0, 0.5, 1.0)),
    ("daps", 0.0, 2),
)

Hold = tuple[float, bool]
"""How a prediction is held to y: (strength of the proximal step, whether it is held at all)."""


@dataclass(frozen=True)
class Tuned:
    """What one judge chose on the validation images at one budget.

    Attributes:
        setting: the setting that is best by this judge.
        validation: its mean by this judge over the validation images; NaN where every setting diverged.
        scores: its mean by every judge.
    """

    setting: Setting
    validation: float
    scores: Mapping[str, float]


def merit(score: float, higher_is_better: bool) -> float:
    """A mean with its sign changed if necessary, so that larger is better; -infinity for one that diverged (NaN)."""
    return -math.inf if math.isnan(score) else score if higher_is_better else -score


def best(scores: Sequence[float], higher_is_better: bool) -> int:
    """Position of the best mean."""
    return max(range(len(scores)), key=lambda at: merit(scores[at], higher_is_better))


def candidates(
    nfe: int,
    injection: Injection,
    t0s: Sequence[int],
    solvers: Sequence[Solver],
    holds: Sequence[Hold] = ((1.0, True),),
    samples: Sequence[int] = (1,),
) -> list[Setting]:
    """The settings of a grid that spend exactly ``nfe`` evaluations; with ``nfe`` 0, only the prior alone.

    A single step adds no noise and has no history: all solvers agree there, and only one is tried. Time travel needs
    two steps.

    Args:
        samples: numbers of independent samples that may be averaged into the restoration; each sample gets an equal
            share of ``nfe``.
    """
    if nfe == 0:
        return [Setting(0)]
    return [
        Setting(nfe, injection, t0, sampler, eta, travel, strength, held, samples=count)
        for t0 in t0s
        for count in samples
        if nfe % count == 0 and t0 + 1 >= nfe // count
        for sampler, eta, travel in ([("ddim", 0.0, 1)] if nfe == count else solvers)
        if nfe // count % travel == 0 and (travel == 1 or nfe // count // travel >= 2)
        for strength, held in holds
    ]


def draw_trials(settings: Sequence[Setting], trials: int, *purpose: object) -> list[Setting]:
    """``trials`` of the settings, at random but always the same ones; all of them if there are no more.

    Random search gives every arm the same number of trials whatever the size of its grid. The entry step matters most,
    so trials are drawn from the entry steps in rotation.
    """
    rng = random.Random("/".join(str(part) for part in purpose))
    at: dict[int | None, list[Setting]] = {}
    for setting in rng.sample(list(settings), len(settings)):
        at.setdefault(setting.t0, []).append(setting)
    turns = [members[turn] for turn in range(len(settings)) for _, members in sorted(at.items()) if turn < len(members)]
    return turns[:trials]


def more_of(settings: Sequence[Setting], total: int, schedule: Schedule) -> list[Setting]:
    """Each setting with as many more samples, and with as many more steps, as ``total`` evaluations pay for.

    Samples and steps are multiplied by whole numbers, so that at most ``total`` is spent; a start has no more steps
    than lie below its t0.
    """
    made: list[Setting] = []
    for setting in settings:
        times = max(1, total // setting.nfe)
        made.append(replace(setting, nfe=setting.nfe * times, samples=setting.samples * times))
        with suppress(InputError):  # more steps than lie below t0: skipped
            longer = replace(setting, nfe=setting.nfe * times)
            longer.check(schedule)
            made.append(longer)
    return list(dict.fromkeys(made))


def tune(
    denoiser: Denoiser,
    observation: Observation,
    mus: Sequence[Tensor | None],
    x_0: Tensor,
    settings: Sequence[Setting],
    seeds: Sequence[int],
    judges: Sequence[Metric],
) -> dict[str, object]:
    """Restore the validation images from several priors in every setting, with the same noise.

    The priors of several arms are one batch: they share photographs, observations and noise.

    Args:
        mus: prior images, (N, 3, H, W) each; a single None for the start from noise.
        x_0: (N, 3, H, W), the validation photographs.
        seeds: one per image; each prior and setting draws anew from the same seeds.

    Returns:
        {judge: for each prior, the mean over images of each setting}.
    """
    count = len(mus)
    images = [mu for mu in mus if mu is not None]
    mu = torch.cat(images) if images else None
    photographs, observed = x_0.repeat(count, 1, 1, 1), observation.repeat(count)
    means: dict[str, list[Tensor]] = {judge.name: [] for judge in judges}
    for setting in settings:
        x_hat, _ = restore(denoiser, observed, mu, setting, ImageRng([*seeds] * count, x_0.device))
        for judge in judges:
            means[judge.name].append(judge(x_hat, photographs).unflatten(0, (count, -1)).mean(1))
    return {name: torch.stack(found, dim=1).tolist() for name, found in means.items()}
