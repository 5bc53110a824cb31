"""One evaluation of the denoiser as an estimate of x_0, and what it is made from where y is not an image with noise."""

from __future__ import annotations

import torch
from torch import Tensor

from dipddpm.batches import in_batches, joined
from dipddpm.denoisers import Denoiser
from dipddpm.errors import InputError
from dipddpm.injection import check_trained_for
from dipddpm.injection.none import NoInjection
from dipddpm.priors import Evidence, Prior
from dipddpm.priors.biharmonic import Biharmonic
from dipddpm.priors.blur import Blur
from dipddpm.priors.lanczos import Lanczos
from dipddpm.sampling import predicted_x0
from dipddpm.tasks import Observation


def one_step(denoiser: Denoiser, x: Tensor, level: float) -> Tensor:
    """E[x_0 | x_0 + level n = x] as the network knows it, in [-1, 1]: one evaluation of sqrt(abar_t) x at the step t
    whose noise, relative to its signal, is nearest to ``level``. No noise is added.

    Args:
        x: (N, 3, H, W) on the device of the denoiser.
        level: standard deviation of the noise that is in ``x``, for images in [-1, 1].
    """
    t = denoiser.schedule.matched_step(level)
    x_t = denoiser.schedule.abar(t) ** 0.5 * x
    with torch.no_grad():
        stage = f"a prior by {type(denoiser).__name__} ({denoiser.size} px, {x.device.type})"
        x_0 = joined(in_batches(stage, len(x), lambda some: predicted_x0(denoiser, x_t[some], t, None, denoiser.clip)))
    return x_0.clamp(-1, 1)


def given_denoiser(prior: Prior, evidence: Evidence) -> Denoiser:
    """The denoiser that a prior is to be made with.

    Raises:
        InputError: there is none, or one that was trained to see a prior.
    """
    if evidence.denoiser is None:
        raise InputError(
            f"prior {prior.name!r} is made with a denoiser, and there is none here: use a prior that needs none, such "
            f"as 'blur', or give Evidence(..., denoiser=...) in Python"
        )
    check_trained_for(evidence.denoiser.injection, NoInjection(), f"the denoiser of prior {prior.name!r}")
    return evidence.denoiser


def free_estimate(observation: Observation) -> Tensor:
    """The cheapest good image from y alone, (N, 3, H, W): a noisy y itself, holes filled, small images enlarged."""
    if observation.sigma:
        return observation.pinv
    fills = (Biharmonic(), Lanczos(), Blur())
    return next(fill.mu(Evidence(observation)) for fill in fills if fill.applies(observation))


def worth_denoising(observation: Observation) -> bool:
    """Whether y leaves anything open: it is noisy, or a projection on it leaves something to choose."""
    return observation.sigma > 0 or observation.consistency == "projection"
