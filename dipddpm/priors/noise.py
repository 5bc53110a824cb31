"""noise: no prior. The reverse diffusion starts from pure Gaussian noise, as published."""

from __future__ import annotations

from typing import ClassVar

from dipddpm.injection import Injection
from dipddpm.injection.none import NoInjection
from dipddpm.priors import Evidence, Prior


class Noise(Prior):
    """The opponent: the same network and the same data consistency from x_T ~ N(0, I)."""

    name = "noise"
    role = "control"
    injection: ClassVar[Injection] = NoInjection()
    in_generation: ClassVar[bool] = True

    def mu(self, evidence: Evidence) -> None:
        return None
