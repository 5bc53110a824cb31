"""Precision and recall: how much of one set lies within the manifold of the other.

Kynkaanniemi et al. 2019, arXiv 1904.06991, eq. 2: the manifold of a set is the union of balls around its members, each
reaching to the member's k-th nearest neighbour. Held equal by a test to torch-fidelity's, which always computes both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dipddpm.population import PopulationMetric, distances, pair, radii

K = 3  # section 3 of the paper


def share_inside(a: Tensor, b: Tensor, k: int) -> float:
    """Share of the rows of ``a`` within the manifold of ``b``."""
    radius = radii(b, k)
    inside = torch.cat([(distances(part, b) <= radius).any(1) for part in a.split(1024)])
    return float(inside.double().mean())


class Precision(PopulationMetric):
    """Share of samples within the manifold of the reference. One outlier there has a large ball: see density."""

    name = "precision"
    label = "precision"
    unit = ""
    definition = "share of samples inside the ball of any reference image that reaches to its 3rd neighbour"
    higher_is_better = True

    def __call__(self, features: Tensor, reference: Tensor) -> float:
        features, reference = pair(features, reference, least=K + 1)
        return share_inside(features, reference, K)


class Recall(PopulationMetric):
    """Share of reference images within the manifold of the samples: falls when modes are lost. An outlier among the
    samples can hide that: see coverage."""

    name = "recall"
    label = "recall"
    unit = ""
    definition = "share of reference images inside the ball of any sample that reaches to its 3rd neighbour"
    higher_is_better = True

    def __call__(self, features: Tensor, reference: Tensor) -> float:
        features, reference = pair(features, reference, least=K + 1)
        return share_inside(reference, features, K)
