"""tv: the image of least total variation that explains y."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from dipddpm.priors import Evidence, Prior
from dipddpm.priors.blur import Blur
from dipddpm.priors.image_by_image import image_by_image
from dipddpm.tasks import Observation
from dipddpm.tasks.denoise import Identity

INNER = 10
"""Iterations of each proximal step. At a weight of 0.05 they suffice; at larger ones they stop early, so that the image
stays smoother than that of least variation, which photographs of 32 pixels like better (0.5 dB)."""
# Sum and differences of the colours, orthonormal: noise stays white, and photographs vary little in the differences. Of
# noise of 25 of 255, smoothing there leaves 27.2 dB, smoothing red, green and blue themselves 25.3 (32 photographs).
OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [0.5, -1, 0.5]]) / np.sqrt([[3.0], [2.0], [1.5]])


class TotalVariation(Prior):
    """Total variation (Rudin, Osher & Fatemi 1992) by Chambolle's algorithm, in an opponent colour space.

    A noisy y is denoised once. A noiseless y is a constraint: Douglas-Rachford splitting (Combettes & Pesquet 2007)
    alternates the proximal step with the projection on y.

    Args:
        weight: of the total variation, for images in [0, 1]; for a constraint, the length of a step.
        alternations: of the two steps, where y is a constraint.
    """

    name = "tv"
    role = "control"

    def __init__(self, weight: float = 0.1, alternations: int = 10):
        self.weight, self.alternations = weight, alternations

    def variants(self) -> Sequence[TotalVariation]:
        # The small weights suit noise of 15 to 50 of 255; the large ones, and more alternations, a constraint.
        grid = ((0.05, 10), (0.075, 10), (0.1, 10), (0.2, 10), (0.5, 10), (0.5, 30))
        return [TotalVariation(weight, alternations) for weight, alternations in grid]

    def applies(self, observation: Observation) -> bool:
        if observation.sigma:
            return isinstance(observation.operator, Identity)
        return observation.consistency == "projection"

    def mu(self, evidence: Evidence) -> Tensor:
        observation = evidence.observation
        if observation.sigma:
            return self._smoothed(observation.y, 200).clamp(-1, 1)
        z = Blur().mu(evidence)
        for _ in range(self.alternations):
            x = observation.consistent(z)
            z = z + self._smoothed(2 * x - z, INNER) - x
        return observation.consistent(observation.consistent(z).clamp(-1, 1))

    def _smoothed(self, x: Tensor, iterations: int) -> Tensor:
        """The proximal step of ``x`` (N, 3, H, W)."""

        def smoothed(image: np.ndarray) -> np.ndarray:
            from skimage.restoration import denoise_tv_chambolle

            opponent = image @ OPPONENT.T
            return denoise_tv_chambolle(opponent, self.weight, max_num_iter=iterations, channel_axis=-1) @ OPPONENT

        return image_by_image(smoothed, x)
