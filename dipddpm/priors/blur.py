"""blur: what was observed, smoothed over the pixels around it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from dipddpm.priors import Evidence, Prior

KERNEL, SIGMA = 9, 1.5  # pixels


class Blur(Prior):
    """Normalised convolution (Knutsson & Westin 1993): blurred A^+ y over blurred weights. Fills holes, too."""

    name = "blur"
    role = "control"
    in_generation: ClassVar[bool] = True
    trains_with: ClassVar[tuple[str, ...]] = ("residual", "concat")

    def mu(self, evidence: Evidence) -> Tensor:
        # Imported here: it takes longer than everything else that a run does which finds all its results.
        from torchvision.transforms.functional import gaussian_blur

        observation = evidence.observation
        pinv, weight = observation.pinv, observation.weight()
        seen = gaussian_blur(weight, [KERNEL, KERNEL], SIGMA)
        blurred = gaussian_blur(pinv, [KERNEL, KERNEL], SIGMA) / seen.clamp(min=1e-6)
        # In a hole wider than the kernel there is nothing to smooth: the mean of what was seen.
        mean = pinv.sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True)
        return observation.consistent(torch.where(seen > 1e-3, blurred, mean))
