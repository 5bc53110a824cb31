"""oracle: the photograph itself. The upper bound of every start."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dipddpm.priors import Evidence, Prior


class Oracle(Prior):
    """Start from x_0: how much a perfect prior could bring through this diffusion."""

    name = "oracle"
    role = "bound"
    leak = "clean-target"
    tuned_as_treatment: ClassVar[bool] = True
    in_generation: ClassVar[bool] = True

    def mu(self, evidence: Evidence) -> Tensor:
        assert evidence.x_0 is not None
        return evidence.x_0
