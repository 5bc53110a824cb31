"""from_y: the network begins with what was observed instead of noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dipddpm.dip import DeepImagePrior
from dipddpm.fitting.image_input import ImageInput, refuses_images
from dipddpm.fitting.trajectory import Problem, Steps, Trajectory
from dipddpm.tasks import Observation


@dataclass(eq=False)
class FromY(Trajectory):
    """min over theta of || A f_theta(P A^+ y + xi) - y ||^2, the plain loop on another z.

    P resizes and mixes the colours of A^+ y into the channels of z; see :mod:`dipddpm.fitting.image_input`. It is drawn
    after the weights, which are those that the plain fit of the image has. The noise xi is on the channels of z, of the
    same sigma_p as in the plain fit, where z is about a tenth as large.
    """

    name = "from_y"
    source = "as the inputs of Jo et al. 2021, arXiv 2108.12841, and of Liang et al. 2024, arXiv 2402.04097"

    def refuses(self, architecture: type[DeepImagePrior], observation: Observation, width: int | None) -> str:
        return refuses_images(architecture)

    def begin(self, problem: Problem) -> Steps:
        z = ImageInput(problem)(problem.observation.pinv)
        return self.with_loss(replace(problem, z=z), problem.misfit)
