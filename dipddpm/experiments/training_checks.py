"""Checks of a network in training, as a store keeps them: restorations, predictions of x_0, populations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypedDict

import torch
from torch import Tensor

from dipddpm.batches import in_batches, joined
from dipddpm.data import to_uint8
from dipddpm.denoisers import Denoiser
from dipddpm.extractors import NamedExtractor
from dipddpm.metrics import Metric
from dipddpm.metrics.psnr import Psnr
from dipddpm.population import PopulationMetric
from dipddpm.restore import Counted, Setting, restore, score, stage
from dipddpm.rng import ImageRng
from dipddpm.tasks import Observation
from dipddpm.training_loss import HELD_OUT_T


class Observed(TypedDict):
    """Observations with their photographs x_0 and priors mu, each (N, 3, H, W) in [-1, 1], and one seed per image."""

    observation: Observation
    x_0: Tensor
    mu: Tensor | None
    seeds: Sequence[int]


def check_network(
    denoiser: Denoiser,
    settings: Sequence[Setting],
    validation: Observed,
    test: Observed,
    keys: Sequence[str],
    metrics: Sequence[Metric],
    clock: Callable[[], float],
) -> dict[str, object]:
    """Restore the test images in the setting that is best on the validation images.

    Args:
        keys: one per test image; the noise of its prediction derives from it.
        clock: seconds; should wait for the device.

    Returns:
        ``best``: position of the chosen setting; ``validation``: its mean PSNR in dB on the validation images;
        ``scores``: {metric: one value per test image}; ``seconds`` of the batch; ``x_0``: {t: PSNR of the x_0 that the
        network predicts, per image}.
    """

    def restored(split: Observed, setting: Setting) -> Tensor:
        rng = ImageRng(split["seeds"], split["x_0"].device)
        return restore(denoiser, split["observation"], split["mu"], setting, rng)[0]

    means = [float(Psnr()(restored(validation, setting), validation["x_0"]).mean()) for setting in settings]
    psnr = [mean if math.isfinite(mean) else -math.inf for mean in means]  # a setting that diverged is the worst
    best = max(range(len(settings)), key=psnr.__getitem__)
    started = clock()
    x_hat = restored(test, settings[best])
    seconds = clock() - started
    return {
        "best": best,
        "validation": psnr[best],
        "seconds": seconds,
        "scores": score(x_hat, test["x_0"], metrics),
        "x_0": {str(t): values for t, values in predicted_x0(denoiser, test, keys).items()},
    }


def predicted_x0(denoiser: Denoiser, test: Observed, keys: Sequence[str]) -> dict[int, list[float]]:
    """PSNR of the predicted x_0 as samplers use it (clipped, held to y), at a few steps. The network is given the true
    x_t, with the same eps in all arms.

    The signal-to-noise ratio of a step is that of the schedule in every arm. This includes ``residual``, which predicts
    x_0 - mu: its error in x_0 - mu equals its error in x_0.
    """
    schedule, device = denoiser.schedule, test["x_0"].device

    def predicted(t: int, some: slice) -> Tensor:
        x_0, mu = test["x_0"][some], None if test["mu"] is None else test["mu"][some]
        eps = ImageRng.for_images(keys[some], "held out", t, device=device).randn(*x_0.shape[1:])
        steps = torch.full((len(eps),), t)
        x_t = schedule.q_sample(x_0, steps, eps)
        x_hat = schedule.predict_x0(x_t, steps, Counted(denoiser, denoiser.injection, mu).eps(x_t, t)).clamp(-1, 1)
        return Psnr()(test["observation"].part(some).refine(x_hat, schedule.snr(t)), x_0)

    named = stage(denoiser, device)
    return {t: joined(in_batches(named, len(keys), partial(predicted, t))).tolist() for t in HELD_OUT_T}


def judge_restorations(
    denoiser: Denoiser,
    observation: Observation,
    mu: Tensor | None,
    seeds: Sequence[int],
    setting: Setting,
    batch: int,
    reference: Tensor,
    split: str,
    extractor: NamedExtractor,
    metrics: Mapping[str, type[PopulationMetric]],
) -> dict[str, object]:
    """Restorations as a population, against (M, 3, H, W) uint8 reference images.

    Returns:
        ``scores``: {title: [value, interval or None, whether higher is better]}.
    """
    from dipddpm.population.scores import scores

    parts = []
    for chosen in torch.arange(len(seeds)).split(batch):
        rng = ImageRng([seeds[i] for i in chosen.tolist()], observation.y.device)
        given = None if mu is None else mu[chosen.to(mu.device)]
        parts.append(to_uint8(restore(denoiser, observation.part(chosen), given, setting, rng)[0]).cpu())
    held = extractor.kept_features(reference)
    features = extractor.features(torch.cat(parts))
    found = scores(features, held, held, extractor.opened, split, only=tuple(metrics), metrics=metrics)
    return {"scores": {title: [s.value, s.interval, s.higher_is_better] for title, s in found.items()}}
