"""dip: the output of a Deep Image Prior fitted to the observation. The hypothesis."""

from __future__ import annotations

from torch import Tensor

from dipddpm.priors import Evidence, Prior


class Dip(Prior):
    """Start from mu = f_theta*(z), made to agree with y (a projection, so it costs nothing and is fair to every arm)."""

    name = "dip"
    role = "treatment"
    uses_dip = True

    def mu(self, evidence: Evidence) -> Tensor:
        assert evidence.dip is not None
        return evidence.observation.consistent(evidence.dip)


class Untrained(Dip):
    """The same network at 0 iterations: what its structure gives without any fitting."""

    name = "untrained"
    role = "ablation"
