"""Diversity: how far apart samples are."""

from __future__ import annotations

from torch import Tensor

from dipddpm.population import PopulationMetric, checked, distances, pair


def mean_pairwise_distance(features: Tensor) -> float:
    """Mean Euclidean distance between two different rows of (N, D), in the features' own unit; 0 if all are one.

    For the samples of one prior as well as for a whole set.

    Raises:
        InputError: fewer than two.
    """
    features = checked(features, least=2)
    total = sum(float(distances(part, features).sum()) for part in features.split(1024))
    return total / (len(features) * (len(features) - 1))


class Diversity(PopulationMetric):
    """Mean pairwise distance of the samples over that of the reference: 1 is as spread as real images are.

    Neither mean depends on the size of its set.
    """

    name = "diversity"
    label = "diversity"
    unit = ""
    definition = "mean pairwise feature distance of the samples over the reference's; 1 is as spread as real images"
    higher_is_better = True

    def __call__(self, features: Tensor, reference: Tensor) -> float:
        features, reference = pair(features, reference, least=2)
        return mean_pairwise_distance(features) / mean_pairwise_distance(reference)
