"""none: x_T ~ N(0, I), the DDPM as published."""

from __future__ import annotations

from dipddpm.injection import Injection


class NoInjection(Injection):
    """Pure Gaussian noise at T (Ho et al. 2006.11239, algorithm 2)."""

    name = "none"
    uses_mu = False
