"""Frechet distance: FID where the features are Inception's, FD otherwise."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from dipddpm.errors import InputError
from dipddpm.population import PopulationMetric, pair

Statistics = dict[str, np.ndarray]


class Fd(PopulationMetric):
    """|mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)) of two Gaussians with the sets' means and covariances.

    Heusel et al. 2017, arXiv 1706.08500, eq. 6, by torch-fidelity's own functions. Biased upwards by about a constant
    over N, so a value holds for its N only. With no more images than features a covariance is singular: refused.
    """

    name = "fd"
    label = "FD"
    unit = ""
    definition = "Frechet distance of two Gaussians, biased upwards as 1/N: compare at equal N and reference only"
    higher_is_better = False

    def __call__(self, features: Tensor, reference: Tensor) -> float:
        features, reference = self._checked(features, reference)
        return between(statistics(features), statistics(reference))

    def resampled(self, features: Tensor, reference: Tensor, drawn: Iterable[Tensor]) -> list[float]:
        features, reference = self._checked(features, reference)
        there = statistics(reference)  # the same for every resample
        return [between(statistics(features[indices]), there) for indices in drawn]

    @staticmethod
    def _checked(features: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        features, reference = pair(features, reference, least=2)
        n, m, width = len(features), len(reference), features.shape[1]
        if min(n, m) <= width:
            raise InputError(
                f"fd: {n} samples against {m} reference images, but with {width} features each set needs more than "
                f"{width}: take more images, an extractor with fewer features, or KID"
            )
        return features, reference


def statistics(features: Tensor) -> Statistics:
    """Mean and covariance of (N, D) features: {"mu": (D,), "sigma": (D, D)}."""
    from torch_fidelity.metric_fid import fid_features_to_statistics  # imported where it is used: that takes seconds

    return fid_features_to_statistics(features)


def between(a: Statistics, b: Statistics) -> float:
    """The distance between two means with covariances: {"mu": (D,), "sigma": (D, D)} each."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    return float(fid_statistics_to_metric(a, b, verbose=False)[KEY_METRIC_FID])
