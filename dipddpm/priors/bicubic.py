"""bicubic: the usual enlargement of a small observation."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from dipddpm.priors import Evidence, Prior
from dipddpm.tasks import Observation


class Bicubic(Prior):
    """y enlarged by bicubic interpolation (a = -0.75, as in PyTorch), then projected on y.

    For block means A A^T is a multiple of I, so that one projection is what back-projection (Irani & Peleg 1991)
    converges to.
    """

    name = "bicubic"
    role = "control"
    trains_with: ClassVar[tuple[str, ...]] = ("residual", "concat")
    instead_of: ClassVar[str] = "blur"

    def applies(self, observation: Observation) -> bool:
        return observation.y.shape[-1] < observation.pinv.shape[-1]

    def mu(self, evidence: Evidence) -> Tensor:
        observation = evidence.observation
        size = observation.pinv.shape[-2:]
        enlarged = F.interpolate(observation.y, size=size, mode="bicubic", align_corners=False)
        return observation.consistent(enlarged.clamp(-1, 1))
