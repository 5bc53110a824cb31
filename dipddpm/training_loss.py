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
from dipddpm.rng import ImageRng, seed_for
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


def draw_batch(
    images: Tensor, schedule: Schedule, batch: int, seed: int, step: int, mu: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Batch:  # fmt: skip
    """The batch of one update. It depends on (seed, step) alone: a resumed run and a rival arm draw the same, on any
    device, but for the rounding of eps and x_0 (:class:`ImageRng`).

    It is drawn where it is used. On an H100, an update of 512 images took 43.8 ms in bfloat16 while everything was
    drawn on the CPU, 27.9 ms of them for gradient and step.

    Images are visited epoch by epoch in a fresh order, mirrored with probability 1/2 (a prior with its image). The t of
    a batch are spread evenly over 0..T-1 from one random offset (Kingma et al. 2107.00630, appendix I.1): same mean,
    less variance.

    Args:
        images: (N, 3, H, W) uint8.
        mu: (N, 3, H, W), their priors.
        device: where the batch is wanted; images and priors may lie there too.
    """
    device = torch.device(device)

    def chosen(of: Tensor) -> Tensor:
        picked = of[_visited(len(images), batch, seed, step, of.device)]
        if picked.device.type == "cpu" and device.type == "cuda":
            picked = picked.pin_memory()  # the copy of such memory needs no waiting
        return _mirror(picked.to(device, non_blocking=True), mirrored)

    rng = ImageRng([seed_for(seed, "update", step)], device)
    mirrored = (rng.rand(batch)[0] < 0.5)[:, None, None, None]
    t = ((rng.rand(1)[0] + _evenly(batch, device)) % 1 * schedule.T).long().clamp(max=schedule.T - 1)
    x_0 = to_float(chosen(images))
    eps = rng.randn(*x_0.shape)[0]
    return Batch(x_0, t, eps, None if mu is None else chosen(mu))


def _visited(n: int, batch: int, seed: int, step: int, device: torch.device) -> Tensor:
    """The numbers of the images of a batch: those that follow in the order of the epoch, and of the next ones."""
    at, end, parts = step * batch, (step + 1) * batch, []
    while at < end:
        epoch, first = divmod(at, n)
        parts.append(_order(n, seed, epoch, device)[first : first + end - at])
        at += len(parts[-1])
    return torch.cat(parts)


@lru_cache(maxsize=8)
def _order(n: int, seed: int, epoch: int, device: torch.device) -> Tensor:
    """All images in the order of an epoch; drawn on the CPU and copied to a device once."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed_for(seed, "order", epoch))).to(device)


@lru_cache(maxsize=4)
def _evenly(batch: int, device: torch.device) -> Tensor:
    """0, 1/N, ..., divided on the CPU: CUDA multiplies by the inverse, which rounds to another t now and then."""
    return (torch.arange(batch) / batch).to(device)


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
