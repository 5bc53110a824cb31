"""concat: the network sees the prior beside the noisy image."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from dipddpm.injection import Injection
from dipddpm.schedule import Schedule


class Concat(Injection):
    """(x_t, mu) as six channels; the diffusion itself is the plain one (SR3, Saharia et al. 2104.07636)."""

    name = "concat"
    trained: ClassVar[bool] = True
    sees_mu: ClassVar[bool] = True
    channels: ClassVar[int] = 6

    def condition(self, x_t: Tensor, t: Tensor, mu: Tensor | None, schedule: Schedule) -> Tensor:
        assert mu is not None
        return torch.cat([x_t, mu], dim=1)
