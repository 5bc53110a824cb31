"""biharmonic: holes filled with the smoothest surface through what was observed."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from dipddpm.priors import Evidence, Prior
from dipddpm.priors.image_by_image import fill_holes
from dipddpm.tasks import Observation
from dipddpm.tasks.inpaint import Mask


class Biharmonic(Prior):
    """The missing pixels solve the biharmonic equation (Damelin & Hoang 2018, as in scikit-image)."""

    name = "biharmonic"
    role = "control"

    def applies(self, observation: Observation) -> bool:
        return isinstance(observation.operator, Mask)

    def mu(self, evidence: Evidence) -> Tensor:
        return fill_holes(evidence.observation, biharmonic)


def biharmonic(image: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) in [0, 1] with the pixels filled that were not ``seen`` (H, W)."""
    from skimage.restoration import inpaint_biharmonic

    return inpaint_biharmonic(image, ~seen, channel_axis=-1)
