"""One population of the generation experiment, and its scores, as a store keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from dipddpm.data import to_float, to_uint8
from dipddpm.denoisers import Denoiser
from dipddpm.errors import InputError
from dipddpm.extractors import NamedExtractor
from dipddpm.generate import sample_images
from dipddpm.population import PopulationMetric
from dipddpm.priors import Evidence, Prior
from dipddpm.restore import Setting


def prior_images(prior: Prior, evidence: Evidence) -> Tensor:
    """(n, 3, H, W) uint8, the priors of a chunk of photographs, rounded to 8 bits as in an image file.

    Raises:
        InputError: the prior cannot be made from a complete and noiseless photograph.
    """
    mu = prior.mu(evidence) if prior.applies(evidence.observation) else None
    if mu is None:
        raise InputError(f"the prior {prior.name!r} makes nothing of a whole photograph")
    return to_uint8(mu).cpu()


def sample_population(
    denoiser: Denoiser,
    prior: Prior,
    evidence: Sequence[Evidence],
    setting: Setting,
    count: int,
    batch: int,
    seed: int,
    device: torch.device,
    clock: Callable[[], float],
) -> dict[str, object]:
    """The population of an arm.

    Args:
        evidence: what the priors are made from, chunk by chunk of photographs; empty for the start from noise.

    Returns:
        ``images`` (count, 3, H, W) uint8; ``nfe`` per image; ``seconds`` of the sampling.
    """
    mu = torch.cat([prior_images(prior, chunk) for chunk in evidence])[:count] if evidence else None
    denoiser.eps(torch.zeros(2, 3, denoiser.size, denoiser.size, device=device), 0)  # its start-up is not measured
    started, parts, nfe = clock(), [], 0
    for start in range(0, count, batch):
        indices = range(start, min(start + batch, count))
        given = None if mu is None else to_float(mu[indices.start : indices.stop])
        images, nfe = sample_images(denoiser, indices, setting, given, seed, device)
        parts.append(images)
    return {"seconds": clock() - started, "nfe": nfe, "images": torch.cat(parts)}


def score_population(
    images: Tensor,
    reference: Tensor,
    photographs: Tensor,
    split: str,
    extractor: NamedExtractor,
    metrics: Mapping[str, type[PopulationMetric]],
    again: Tensor | None,
    mu: Tensor | None,
) -> dict[str, object]:
    """The scores of a population against a reference; all images are uint8.

    Args:
        photographs: those that priors are made of; a sampler that memorises would return copies of them.
        split: what titles call the reference.
        again: a second sample from each of the first priors of ``mu``. It shows how much the prior alone decides of a
            sample.

    Returns:
        ``scores``: {title: [value, its interval or None, whether higher is better]}.
    """
    from dipddpm.population.scores import distance_from, scores, spread_within

    features, held = extractor.features(images), extractor.kept_features(reference)
    found = scores(features, held, extractor.kept_features(photographs), extractor.opened, split, metrics=metrics)
    made: dict[str, object] = {title: [s.value, s.interval, s.higher_is_better] for title, s in found.items()}
    if again is not None and mu is not None:
        first = features[: len(again)]
        made["spread within a prior"] = [spread_within(first, extractor.features(again)), None, True]
        made["distance from the prior"] = [distance_from(extractor.features(mu), first), None, True]
    return {"scores": made}


def score_floor(
    images: Tensor,
    reference: Tensor,
    photographs: tuple[Sequence[str], Sequence[str]],
    split: str,
    extractor: NamedExtractor,
    metrics: Mapping[str, type[PopulationMetric]],
    only: Sequence[str] = (),
) -> dict[str, object]:
    """The scores of real images against a reference of other photographs; all images are uint8.

    Args:
        images: as many as a population has.
        photographs: names of the photographs of ``images``, and of those of ``reference``.
        split: what titles call the reference.
        only: names of the metrics that are asked for, each for all N images only; by default every metric.

    Returns:
        ``scores``: {title: [mean of several draws, (smallest, largest), whether higher is better]}.
    """
    from dipddpm.population.scores import floor_scores

    real, held = extractor.kept_features(images), extractor.kept_features(reference)
    found = floor_scores(real, held, photographs, extractor.opened, split, only, metrics)
    return {"scores": {title: [s.value, s.interval, s.higher_is_better] for title, s in found.items()}}
