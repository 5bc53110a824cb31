"""blur: what was observed, smoothed over the pixels around it."""

from __future__ import annotations

import torch
from torch import Tensor

from dipddpm.priors import Evidence, Prior

KERNEL, SIGMA = 9, 1.5  # pixels


class Blur(Prior):
    """Normalised convolution (Knutsson & Westin 1993): blurred A^+ y over blurred weights. Fills holes, too."""

    name = "blur"
    role = "control"

    def mu(self, evidence: Evidence) -> Tensor:
        # Here, since importing torchvision takes longer than all else that a run with nothing to compute does.
        from torchvision.transforms.functional import gaussian_blur

        observation = evidence.observation
        pinv, weight = observation.pinv, observation.weight()
        seen = gaussian_blur(weight, [KERNEL, KERNEL], SIGMA)
        blurred = gaussian_blur(pinv, [KERNEL, KERNEL], SIGMA) / seen.clamp(min=1e-6)
        # In a hole wider than the kernel there is nothing to smooth: the mean of what was seen.
        mean = pinv.sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True)
        return observation.consistent(torch.where(seen > 1e-3, blurred, mean))
