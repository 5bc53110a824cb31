"""Metrics of a set of images against another set, from features: one file each.

``extractors/`` makes the features. A number here means nothing without its extractor, its number of images and its
reference, so ``title`` puts all three into its name, and ``floor.floor`` says what real images score.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from dipddpm.errors import InputError
from dipddpm.registry import discover


class PopulationMetric(ABC):
    """A number for a set of samples against a set of reference images.

    Args:
        held_out: (H, D) features of real images that are neither trained on nor the reference; only metrics with
            ``needs_held_out`` look at them, so that all can be made and called alike.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    """How titles write the name."""
    unit: ClassVar[str]
    definition: ClassVar[str]
    higher_is_better: ClassVar[bool]
    needs_held_out: ClassVar[bool] = False
    kind: ClassVar[Literal["population"]] = "population"

    def __init__(self, held_out: Tensor | None = None):
        if self.needs_held_out and held_out is None:
            raise InputError(f"{self.name}: needs the features of held-out real images")
        self.held_out = held_out

    @abstractmethod
    def __call__(self, features: Tensor, reference: Tensor) -> float:
        """The value for samples (N, D) against reference images (M, D).

        Raises:
            InputError: too few of either, features that are not finite, or widths that differ.
        """

    def resampled(self, features: Tensor, reference: Tensor, drawn: Iterable[Tensor]) -> list[float]:
        """The value for each of several resamples of the samples, (N,) indices each: what ``intervals`` draws on."""
        return [self(features[indices], reference) for indices in drawn]


class Titled(Protocol):
    """What a title needs of an extractor."""

    name: str
    gives_fid: bool


def population_metrics() -> Mapping[str, type[PopulationMetric]]:
    """Every population metric, by name."""
    return discover(sys.modules[__name__], PopulationMetric)  # type: ignore[type-abstract]


def title(metric: str, extractor: Titled, n: int, reference: str) -> str:
    """The name that a value goes by: ``FID@50k-train``, ``FD-embedded64@2500-test``, ``KID-embedded64@1000-train``.

    Two values may be set beside each other only where their titles are equal. "FID" is said only of Inception-v3 pool3
    with the published weights (``extractor.gives_fid``), for which other metrics drop the extractor's name as well.

    Args:
        metric: name of a population metric.
        n: number of samples.
        reference: the split, or what else the samples are compared with.
    """
    known = population_metrics()
    label = known[metric].label if metric in known else metric
    count = f"{n // 1000}k" if n >= 10_000 and n % 1000 == 0 else str(n)
    if not extractor.gives_fid:
        return f"{label}-{extractor.name}@{count}-{reference}"
    return f"{'FID' if metric == 'fd' else label}@{count}-{reference}"


def checked(features: Tensor, least: int, what: str = "features") -> Tensor:
    """``features`` as float64 on the CPU: in single precision the distances of near neighbours would cancel.

    Raises:
        InputError: not (N, D), fewer than ``least``, or not finite.
    """
    if features.ndim != 2 or len(features) < least:
        raise InputError(f"{what}: at least {least} rows of features are needed, got {tuple(features.shape)}")
    if not torch.isfinite(features).all():
        raise InputError(f"{what}: holds values that are not finite")
    return features.detach().cpu().double()


def pair(features: Tensor, reference: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Both sets, checked, of one width.

    Raises:
        InputError: as ``checked``, or the widths differ.
    """
    features, reference = checked(features, least, "samples"), checked(reference, least, "reference")
    if features.shape[1] != reference.shape[1]:
        raise InputError(f"widths differ: samples have {features.shape[1]} features, reference {reference.shape[1]}")
    return features, reference


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances (N, M), by the product formula: an exact copy may come out some 1e-8 away."""
    return torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")


def nearest(a: Tensor, b: Tensor, block: int = 1024) -> Tensor:
    """Distance of each row of ``a`` to the nearest of ``b``, (N,); in blocks, so that memory stays small."""
    return torch.cat([distances(part, b).min(1).values for part in a.split(block)])


def radii(a: Tensor, k: int, block: int = 1024) -> Tensor:
    """Distance of each row to its k-th nearest neighbour in the same set, itself not counted, (N,)."""
    # topk, because kthvalue takes nine times as long.
    return torch.cat([distances(part, a).topk(k + 1, largest=False).values[:, -1] for part in a.split(block)])
