"""matched: the noisy observation itself, entered at the step that is as noisy as it is."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dipddpm.injection import Injection
from dipddpm.injection.matched import Matched
from dipddpm.priors import Evidence, Prior
from dipddpm.tasks import Observation


class MatchedObservation(Prior):
    """For denoising: a DIP start that does not beat it adds nothing, since it is exact and costs nothing."""

    name = "matched"
    role = "control"
    injection: ClassVar[Injection] = Matched()

    def applies(self, observation: Observation) -> bool:
        return observation.sigma > 0

    def mu(self, evidence: Evidence) -> Tensor:
        return evidence.observation.y
