"""Density and coverage: precision and recall that an outlier cannot carry."""

from __future__ import annotations

import torch
from torch import Tensor

from dipddpm.population import PopulationMetric, distances, nearest, pair, radii

K = 5  # Naeem et al., section 3.3


class Density(PopulationMetric):
    """How many reference balls a sample lies in, over k (Naeem et al. 2020, arXiv 2002.09797, eq. 3; k = 5).

    1 for equal distributions; more where samples crowd into the densest part, so above 1 is no virtue.
    """

    name = "density"
    label = "density"
    unit = ""
    definition = "mean number of reference balls (to the 5th neighbour) around a sample, over 5; may exceed 1"
    higher_is_better = True

    def __call__(self, features: Tensor, reference: Tensor) -> float:
        features, reference = pair(features, reference, least=K + 1)
        radius = radii(reference, K)
        inside = torch.cat([(distances(part, reference) < radius).sum(1) for part in features.split(1024)])
        return float(inside.double().mean()) / K


class Coverage(PopulationMetric):
    """Share of reference images with a sample in their ball (same source, eq. 4): falls when modes are lost."""

    name = "coverage"
    label = "coverage"
    unit = ""
    definition = "share of reference images with a sample nearer than their 5th neighbour; grows with N: equal N only"
    higher_is_better = True

    def __call__(self, features: Tensor, reference: Tensor) -> float:
        features, reference = pair(features, reference, least=K + 1)
        return float((nearest(reference, features) < radii(reference, K)).double().mean())
