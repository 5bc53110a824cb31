"""Tuning: every arm chooses its setting on validation images, from the same number of candidates.

A start from noise has no t0 to choose; so that its search is not the smaller one, it chooses among more values of eta
and of time travel instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.denoisers import Denoiser
from dipddpm.metrics.psnr import Psnr
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.tasks import Observation


@dataclass(frozen=True)
class Tuned:
    """The best setting at one budget and its mean PSNR (dB) on the validation images."""

    setting: Setting
    validation: float


def candidates(
    nfe: int, injection: str, t0s: Sequence[int], etas: Sequence[float], travels: Sequence[int]
) -> list[Setting]:
    """The settings that spend exactly ``nfe`` evaluations; for none at all, the prior alone.

    A single step adds no noise, so eta is no choice there; time travel needs at least two distinct steps.
    """
    if nfe == 0:
        return [Setting(0)]
    pairs = [(eta, 1) for eta in etas] + [(1.0, travel) for travel in travels if travel > 1]
    if nfe == 1:
        pairs = [(0.0, 1)]
    pairs = [(eta, travel) for eta, travel in pairs if nfe % travel == 0 and (travel == 1 or nfe // travel >= 2)]
    starts: Sequence[int | None] = [t0 for t0 in t0s if t0 + 1 >= nfe] if injection != "none" else [None]
    return [Setting(nfe, injection, t0, eta, travel) for t0 in starts for eta, travel in pairs]


def tune(
    denoiser: Denoiser,
    observation: Observation,
    x_0: Tensor,
    mu: Tensor | None,
    settings: Sequence[Setting],
    rng_seeds: Sequence[int],
) -> Tuned:
    """Run every setting on the validation images with the same noise; the one with the highest mean PSNR.

    Args:
        x_0: (N, 3, H, W), the validation photographs.
        mu: their prior.
        rng_seeds: one seed an image, used afresh by each setting.
    """
    results = []
    for setting in settings:
        x_hat, _ = restore(denoiser, observation, mu, setting, ImageRng(rng_seeds, x_0.device))
        results.append(Psnr()(x_hat, x_0).mean())
    best = int(torch.stack(results).argmax())
    return Tuned(settings[best], float(results[best]))
