"""lanczos: a small observation enlarged by the windowed sinc."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from dipddpm.priors import Evidence, Prior
from dipddpm.priors.image_by_image import image_by_image
from dipddpm.tasks import Observation


class Lanczos(Prior):
    """y enlarged by Pillow's Lanczos filter (a = 3) in floating point, then projected on y.

    For block means A A^T is a multiple of I, so that one projection is what back-projection (Irani & Peleg 1991)
    converges to.
    """

    name = "lanczos"
    role = "control"

    def applies(self, observation: Observation) -> bool:
        return observation.y.shape[-1] < observation.pinv.shape[-1]

    def mu(self, evidence: Evidence) -> Tensor:
        observation = evidence.observation
        height, width = observation.pinv.shape[-2:]

        def enlarged(image: np.ndarray) -> np.ndarray:
            from PIL import Image

            colours = np.moveaxis(image.astype(np.float32), -1, 0)  # 32-bit floating point is a mode of one colour
            resized = [Image.fromarray(c).resize((width, height), Image.Resampling.LANCZOS) for c in colours]
            return np.stack([np.asarray(c, np.float64) for c in resized], axis=-1)

        return observation.consistent(image_by_image(enlarged, observation.y).clamp(-1, 1))
