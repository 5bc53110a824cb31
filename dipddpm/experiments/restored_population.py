"""Restorations as a population: how natural they look together, where there are enough of them to judge."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from torch import Tensor

from dipddpm.data import to_uint8
from dipddpm.experiments.fits import Fits
from dipddpm.experiments.population_cells import score_population
from dipddpm.extractors import NamedExtractor
from dipddpm.population.kid import Kid

LEAST = 64  # restorations, and photographs that they were cut from
REFERENCE = 1024  # training photographs at most


class RestoredPopulations:
    """KID of the restored test images of a restoration experiment against photographs of the training split.

    Args:
        fits: whose photographs were restored.
        extractor: gives the features that KID compares.
    """

    def __init__(self, fits: Fits, extractor: NamedExtractor):
        self.fits, self.extractor = fits, extractor

    @cached_property
    def reference(self) -> Tensor:
        """(M, 3, H, W) uint8, images of photographs none of which was degraded and restored."""
        return self.fits.dataset.sample("train", REFERENCE, or_fewer=True)

    @cached_property
    def is_judged(self) -> bool:
        """Whether there are enough photographs on both sides."""
        dataset = self.fits.dataset
        restored = set(self.fits.images("test").photographs)
        reference = set(dataset.sample_photographs("train", REFERENCE, or_fewer=True))
        return min(len(restored), len(reference)) >= LEAST

    def scores(self, x_hat: Tensor) -> Mapping[str, list]:
        """{title: [value, 95 % interval, whether higher is better]} of restorations (N, 3, H, W) in [-1, 1]; empty
        where they are too few."""
        if not self.is_judged:
            return {}
        found = self.fits.memo(
            score_population,
            {
                "images": to_uint8(x_hat).cpu(), "reference": self.reference, "photographs": self.reference,
                "split": "train", "extractor": self.extractor, "metrics": {Kid.name: Kid}, "again": None, "mu": None,
            },
        ).value["scores"]  # fmt: skip
        return {title: score for title, score in found.items() if title.startswith(Kid.label)}
