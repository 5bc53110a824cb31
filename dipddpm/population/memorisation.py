"""Memorisation: are samples nearer to the training images than to real images that nobody trained on?

The reference here is the training set, and ``held_out`` is real, of the same source and never trained on. A sample from
the true distribution prefers neither; what remains is the size of the sets, and both metrics correct for it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dipddpm.errors import InputError
from dipddpm.population import PopulationMetric, checked, nearest, pair


class _AgainstHeldOut(PopulationMetric):
    needs_held_out = True
    higher_is_better = False

    def _three(self, features: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        assert self.held_out is not None  # the base class refused to be made without
        features, reference = pair(features, reference, least=1)
        held_out = checked(self.held_out, 1, "held out")
        if held_out.shape[1] != features.shape[1]:
            raise InputError(f"widths differ: samples have {features.shape[1]} features, held out {held_out.shape[1]}")
        return features, reference, held_out


class Memorisation(_AgainstHeldOut):
    """Share of samples whose nearest real image is a training image, put so that chance is 0 and certainty 1.

    Of M training and H held-out images from one distribution, the nearest is a training image with probability
    M / (M + H), whatever the sample; the excess over that is divided by what was left. Ties count half.
    """

    name = "memorisation"
    label = "memorisation"
    unit = ""
    definition = "share of samples whose nearest real image was trained on; 0 at chance for the set sizes, at most 1"

    def __call__(self, features: Tensor, reference: Tensor) -> float:
        features, train, held_out = self._three(features, reference)
        to_train, to_held_out = nearest(features, train), nearest(features, held_out)
        share = float(((to_train < to_held_out).double() + (to_train == to_held_out).double() / 2).mean())
        chance = len(train) / (len(train) + len(held_out))
        return (share - chance) / (1 - chance)


class NearestRatio(_AgainstHeldOut):
    """One minus the median distance to the nearest training image over that to the nearest held-out image.

    A larger set has nearer neighbours, so it is cut into parts as large as the smaller one, at random but always the
    same, and the median is over all parts. 0 without memorisation, towards 1 where samples are training images.
    """

    name = "nearest-ratio"
    label = "nearest-ratio"
    unit = ""
    definition = "1 - median distance to the nearest training image / to the nearest held-out image, in equal set sizes"

    def __call__(self, features: Tensor, reference: Tensor) -> float:
        features, train, held_out = self._three(features, reference)
        size = min(len(train), len(held_out))
        return 1 - _median(features, train, size) / max(_median(features, held_out, size), 1e-12)


def _median(features: Tensor, real: Tensor, size: int) -> float:
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))
    parts = real[order[: len(real) // size * size]].split(size)
    return float(torch.cat([nearest(features, part) for part in parts]).median())
