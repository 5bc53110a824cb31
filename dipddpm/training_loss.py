"""What a noise network is trained on: the batch of one update, its loss, and the same loss on held-out images."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dipddpm.batches import in_batches
from dipddpm.data import to_float
from dipddpm.injection import Injection
from dipddpm.injection.none import NoInjection
from dipddpm.rng import seed_for
from dipddpm.schedule import Schedule

PLAIN = NoInjection()
HELD_OUT_T = (50, 150, 300, 500, 800)  # signal-to-noise from 34 to 0.0015: from retouching to guessing


class Batch(NamedTuple):
    """x_0, eps (N, 3, H, W); t (N,); mu (N, 3, H, W) where there are priors."""

    x_0: Tensor
    t: Tensor
    eps: Tensor
    mu: Tensor | None = None

    def part(self, images: slice) -> Batch:
        """Some of its images."""
        return Batch(self.x_0[images], self.t[images], self.eps[images], None if self.mu is None else self.mu[images])


def ddpm_loss(
    model: Callable[[Tensor, Tensor], Tensor], schedule: Schedule, x_0: Tensor, t: Tensor, eps: Tensor,
    injection: Injection = PLAIN, mu: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Mean squared error of the predicted noise, one value per image: L_simple of 2006.11239, eq. 14.

    Shapes: x_0, eps and mu (N, 3, H, W), x_0 and mu in [-1, 1]; t (N,). Returns (N,).
    """
    x_t = injection.condition(schedule.q_sample(x_0, t, eps), t, mu, schedule)
    x_t = x_t.contiguous(memory_format=torch.channels_last)
    return (model(x_t, t) - eps).float().square().flatten(1).mean(1)


def draw_batch(images: Tensor, schedule: Schedule, batch: int, seed: int, step: int, mu: Tensor | None = None) -> Batch:
    """The batch of one update. It depends on (seed, step) alone: a resumed run and a rival arm draw the same.

    Images are visited epoch by epoch in a fresh order, mirrored with probability 1/2 (a prior with its image). The t of
    a batch are spread evenly over 0..T-1 from one random offset (Kingma et al. 2107.00630, appendix I.1): same mean,
    less variance.

    Args:
        images: (N, 3, H, W) uint8.
        mu: (N, 3, H, W), their priors.
    """
    n = len(images)
    positions = torch.arange(step * batch, (step + 1) * batch)
    chosen = torch.empty(batch, dtype=torch.long)
    for epoch in (positions // n).unique().tolist():
        here = positions // n == epoch
        chosen[here] = _order(n, seed, epoch)[positions[here] % n]
    rng = torch.Generator().manual_seed(seed_for(seed, "update", step))
    mirrored = (torch.rand(batch, generator=rng) < 0.5)[:, None, None, None]
    offset = torch.rand((), generator=rng)
    t = ((offset + torch.arange(batch) / batch) % 1 * schedule.T).long().clamp(max=schedule.T - 1)
    x_0 = to_float(images[chosen])
    eps = torch.randn(x_0.shape, generator=rng)
    priors = None if mu is None else mu[chosen]
    return Batch(_mirror(x_0, mirrored), t, eps, None if priors is None else _mirror(priors, mirrored))


@lru_cache(maxsize=4)
def _order(n: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed_for(seed, "order", epoch)))


def _mirror(x: Tensor, mirrored: Tensor) -> Tensor:
    return torch.where(mirrored, x.flip(-1), x)


@torch.inference_mode()
def held_out_loss(
    model: nn.Module,
    schedule: Schedule,
    images: Tensor,
    device: torch.device,
    seed: int = 0,
    injection: Injection = PLAIN,
    mu: Tensor | None = None,
) -> dict:
    """Loss at each of five steps over held-out uint8 images, the same noise at every call: {t: mean squared error}.

    A schedule too short for some of the steps goes without them.
    """
    model.eval()
    losses, stage = {}, f"held-out loss ({images.shape[-1]} px, {device.type})"

    def loss(batch: Batch, some: slice) -> Tensor:
        x_0, t, eps, mu = batch.part(some)
        return ddpm_loss(model, schedule, x_0, t, eps, injection, mu)

    for t in (t for t in HELD_OUT_T if t < schedule.T):
        rng = torch.Generator().manual_seed(seed_for(seed, "held out", t))
        values = []
        for start in range(0, len(images), 128):
            x_0 = to_float(images[start : start + 128])
            eps = torch.randn(x_0.shape, generator=rng)
            steps = torch.full((len(x_0),), t, device=device)
            priors = None if mu is None else mu[start : start + 128].to(device)
            batch = Batch(x_0.to(device), steps, eps.to(device), priors)
            values += in_batches(stage, len(x_0), partial(loss, batch))
        losses[t] = float(torch.cat(values).mean())
    model.train()
    return losses
