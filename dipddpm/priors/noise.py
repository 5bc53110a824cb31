"""noise: no prior. The reverse diffusion starts from pure Gaussian noise, as published."""

from __future__ import annotations

from dipddpm.priors import Evidence, Prior


class Noise(Prior):
    """The opponent: the same network and the same data consistency from x_T ~ N(0, I)."""

    name = "noise"
    role = "control"
    injection = "none"

    def mu(self, evidence: Evidence) -> None:
        return None
