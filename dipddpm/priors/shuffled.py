"""shuffled: a fitted DIP of another image. If it does as well, the prior carries no information about the image."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dipddpm.priors import Evidence, Role
from dipddpm.priors.dip import Dip


class Shuffled(Dip):
    """Image i starts from the DIP of image i - 1 (the first from that of the last)."""

    name = "shuffled"
    role: ClassVar[Role] = "ablation"

    def mu(self, evidence: Evidence) -> Tensor:
        assert evidence.dip is not None
        return evidence.observation.consistent(evidence.dip.roll(1, dims=0))
