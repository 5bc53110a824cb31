"""pnp: plug-and-play restoration, the denoiser and the data in turns at falling noise levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor

from dipddpm.priors import Evidence, Prior
from dipddpm.priors.one_step import free_estimate, given_denoiser, one_step, worth_denoising
from dipddpm.tasks import Observation

UNIT = 2 / 255
"""One grey level of 255, on images in [-1, 1]."""
LAST = 2.55 * UNIT
"""The level that a noiseless y ends at."""


class PlugAndPlay(Prior):
    """DPIR (Zhang et al. 2008.13751, algorithm 1) in 8 steps: half-quadratic splitting, with our denoiser for theirs.

    The levels fall evenly in their logarithm from the first one to that of y. Each step holds the estimate to y (the
    projection, or for a noisy y the closed form of eq. 6a, alpha_k = strength sigma^2 / sigma_k^2) and denoises it
    without adding noise. It begins with an estimate from y alone.

    Args:
        first: the first level in grey levels of 255.
        strength: lambda; it plays no part where y has no noise.
    """

    name = "pnp"
    role = "control"
    evaluations: ClassVar[int] = 8

    def __init__(self, first: float = 49.0, strength: float = 0.23):
        self.first, self.strength = first, strength

    def variants(self) -> Sequence[PlugAndPlay]:
        return [PlugAndPlay(first, strength) for first in (25.0, 49.0, 98.0) for strength in (0.05, 0.23)]

    def applies(self, observation: Observation) -> bool:
        return worth_denoising(observation)

    def mu(self, evidence: Evidence) -> Tensor:
        denoiser, observation = given_denoiser(self, evidence), evidence.observation
        last = max(observation.sigma, LAST)
        x = free_estimate(observation)
        for level in np.geomspace(max(self.first * UNIT, last), last, self.evaluations).tolist():
            x = one_step(denoiser, observation.refine(x, 1 / level**2, self.strength), level)
        return observation.consistent(x)
