"""mean_colour: one colour, the mean of what was observed."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from dipddpm.priors import Evidence, Prior


class MeanColour(Prior):
    """The image that knows nothing but its average."""

    name = "mean_colour"
    role = "control"
    in_generation: ClassVar[bool] = True
    trains_with: ClassVar[tuple[str, ...]] = ("residual",)

    def mu(self, evidence: Evidence) -> Tensor:
        observation = evidence.observation
        pinv, weight = observation.pinv, observation.weight()
        mean = pinv.sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True)
        return observation.consistent(mean.expand_as(pinv))
