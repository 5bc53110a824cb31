"""linear and cubic: holes interpolated over the triangles between observed pixels."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
from torch import Tensor

from dipddpm.priors import Evidence, Prior
from dipddpm.priors.image_by_image import fill_holes
from dipddpm.tasks import Observation
from dipddpm.tasks.inpaint import Mask


class Linear(Prior):
    """Linear on each Delaunay triangle of observed pixels (SciPy's griddata); outside them, the nearest pixel."""

    name = "linear"
    role = "control"
    method: ClassVar[str] = "linear"

    def applies(self, observation: Observation) -> bool:
        return isinstance(observation.operator, Mask)

    def mu(self, evidence: Evidence) -> Tensor:
        return fill_holes(evidence.observation, partial(interpolated, method=self.method))


class Cubic(Linear):
    """A smooth surface of cubic pieces on the same triangles (Clough & Tocher 1965)."""

    name = "cubic"
    method: ClassVar[str] = "cubic"


def interpolated(image: np.ndarray, seen: np.ndarray, method: str) -> np.ndarray:
    """An image (H, W, 3) with the pixels interpolated that were not ``seen`` (H, W)."""
    from scipy.interpolate import griddata
    from scipy.spatial import QhullError

    at, holes, filled = np.argwhere(seen), np.argwhere(~seen), image.copy()
    nearest = griddata(at, image[seen], holes, "nearest")
    try:
        inside = griddata(at, image[seen], holes, method)
    except QhullError:  # the pixels lie on one line or are fewer than three: there is no triangle
        inside = np.full_like(nearest, np.nan)
    filled[~seen] = np.where(np.isnan(inside), nearest, inside)
    return filled
