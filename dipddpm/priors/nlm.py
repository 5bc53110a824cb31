"""nlm: non-local means, the average of pixels whose surroundings look alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from dipddpm.priors import Evidence, Prior
from dipddpm.priors.image_by_image import image_by_image
from dipddpm.tasks import Observation
from dipddpm.tasks.denoise import Identity


class NonLocalMeans(Prior):
    """Non-local means (Buades et al. 2005) that knows the noise level, in the fast form of Darbon et al. 2008.

    Args:
        patch: width of the surroundings that are compared, in pixels.
        distance: how far away a pixel may be, in pixels.
        h: how alike is alike, in units of the noise.
    """

    name = "nlm"
    role = "control"

    def __init__(self, patch: int = 5, distance: int = 6, h: float = 0.6):
        self.patch, self.distance, self.h = patch, distance, h

    def variants(self) -> Sequence[NonLocalMeans]:
        return [NonLocalMeans(patch, distance, h) for patch, distance in ((3, 5), (5, 6)) for h in (0.5, 0.6, 0.8)]

    def applies(self, observation: Observation) -> bool:
        return observation.sigma > 0 and isinstance(observation.operator, Identity)

    def mu(self, evidence: Evidence) -> Tensor:
        sigma = evidence.observation.sigma / 2  # of images in [0, 1]

        def denoised(image: np.ndarray) -> np.ndarray:
            from skimage.restoration import denoise_nl_means

            return denoise_nl_means(
                image, self.patch, self.distance, self.h * sigma, fast_mode=True, sigma=sigma, channel_axis=-1
            )

        return image_by_image(denoised, evidence.observation.y).clamp(-1, 1)
