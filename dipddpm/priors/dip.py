"""dip: the output of a Deep Image Prior fitted to the observation. The hypothesis."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dipddpm.priors import ArmRole, Evidence, Prior


class Dip(Prior):
    """Start from mu = f_theta*(z), made to agree with y (a projection: it costs nothing)."""

    name = "dip"
    role: ClassVar[ArmRole] = "treatment"
    in_generation: ClassVar[bool] = True
    uses_dip = True

    def mu(self, evidence: Evidence) -> Tensor:
        assert evidence.dip is not None
        return evidence.observation.consistent(evidence.dip)


class Untrained(Dip):
    """The same network at 0 iterations: what its structure gives without any fitting."""

    name = "untrained"
    role: ClassVar[ArmRole] = "ablation"
    iterations: ClassVar[int | None] = 0
