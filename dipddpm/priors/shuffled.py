"""shuffled: a fitted DIP of another image. If it does as well, the prior carries no information about the image."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dipddpm.errors import InputError
from dipddpm.priors import ArmRole, Evidence
from dipddpm.priors.dip import Dip


class Shuffled(Dip):
    """Image i starts from the DIP of image i - 1 (the first from that of the last).

    Raises:
        InputError: there is a single image, which would start from its own DIP.
    """

    name = "shuffled"
    role: ClassVar[ArmRole] = "ablation"
    tuned_as_treatment: ClassVar[bool] = True
    pairs = True

    def mu(self, evidence: Evidence) -> Tensor:
        assert evidence.dip is not None
        if len(evidence.dip) == 1:
            raise InputError("the prior 'shuffled' takes the DIP of another image, and there is 1: give it 2 or more")
        return evidence.observation.consistent(evidence.dip.roll(1, dims=0))
