"""mmse: the best estimate that one evaluation of the denoiser gives, without any diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from dipddpm.priors import Evidence, Prior
from dipddpm.priors.one_step import free_estimate, given_denoiser, one_step, worth_denoising
from dipddpm.tasks import Observation


class OneStepMmse(Prior):
    """E[x_0 | y] by Tweedie's formula (Efron 2011), exact for a noisy y: the step that is as noisy as y takes y itself.

    Elsewhere an estimate from y alone is taken for x_0 plus noise, and what the network makes of it is held to y.

    Args:
        level: standard deviation of the noise that such an estimate is taken to have, for images in [-1, 1]. It plays
            no part where y is noisy: there the noise is known.
    """

    name = "mmse"
    role = "control"
    evaluations: ClassVar[int] = 1

    def __init__(self, level: float = 0.1):
        self.level = level

    def variants(self) -> Sequence[OneStepMmse]:
        return [OneStepMmse(level) for level in (0.05, 0.1, 0.15, 0.2, 0.3)]

    def applies(self, observation: Observation) -> bool:
        return worth_denoising(observation)

    def mu(self, evidence: Evidence) -> Tensor:
        denoiser, observation = given_denoiser(self, evidence), evidence.observation
        x_0 = one_step(denoiser, free_estimate(observation), observation.sigma or self.level)
        return observation.consistent(x_0)
