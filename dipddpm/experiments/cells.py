"""One execution of an arm, diffusion and scores, as a store keeps it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from dipddpm.denoisers import Denoiser
from dipddpm.metrics import Metric
from dipddpm.restore import Setting, restore, score
from dipddpm.rng import ImageRng
from dipddpm.tasks import Observation


def run_arm(
    denoiser: Denoiser,
    observation: Observation,
    mu: Tensor | None,
    x_0: Tensor,
    setting: Setting,
    seeds: Sequence[int],
    metrics: Sequence[Metric],
    clock: Callable[[], float],
) -> dict[str, object]:
    """Restore a batch of observations from their prior images and score it; quality and cost are of one execution.

    Args:
        mu: (N, 3, H, W) in [-1, 1]; None for the start from noise.
        x_0: (N, 3, H, W), the photographs; used for the scores alone.
        seeds: one per image; the noise of that image is drawn from it.
        clock: seconds; should wait for the device.

    Returns:
        ``x_hat`` (N, 3, H, W) in [-1, 1]; ``scores``: {metric: one value per image}; ``nfe``: network evaluations per
        image, as counted; ``seconds`` that sampling took for the whole batch.
    """
    started = clock()
    x_hat, nfe = restore(denoiser, observation, mu, setting, ImageRng(seeds, x_0.device))
    seconds = clock() - started
    return {"x_hat": x_hat, "scores": score(x_hat, x_0, metrics), "nfe": nfe, "seconds": seconds}
