"""Training the noise network: the loss, the average of the weights, and a loop that resumes to the same numbers."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dipddpm.data import to_float
from dipddpm.errors import InputError
from dipddpm.rng import seed_for
from dipddpm.schedule import Schedule
from dipddpm.unet import UNet

HELD_OUT_T = (50, 150, 300, 500, 800)  # signal-to-noise from 34 to 0.0015: from retouching to guessing


def ddpm_loss(model: nn.Module, schedule: Schedule, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Mean squared error of the predicted noise, one value an image: L_simple of 2006.11239, eq. 14.

    Shapes: x_0 and eps (N, 3, H, W), x_0 in [-1, 1]; t (N,). Returns (N,).
    """
    return (model(schedule.q_sample(x_0, t, eps), t) - eps).square().flatten(1).mean(1)


def draw_batch(images: Tensor, schedule: Schedule, batch: int, seed: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """(x_0, t, eps) of one update. They depend on (seed, step) alone: a resumed run and a rival arm draw the same.

    Images are visited epoch by epoch in a fresh order, mirrored with probability 1/2. The t of a batch are spread
    evenly over 0..T-1 from one random offset (Kingma et al. 2107.00630, appendix I.1): same mean, less variance.
    """
    n = len(images)
    positions = torch.arange(step * batch, (step + 1) * batch)
    chosen = torch.empty(batch, dtype=torch.long)
    for epoch in (positions // n).unique().tolist():
        here = positions // n == epoch
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed_for(seed, "order", epoch)))
        chosen[here] = order[positions[here] % n]
    rng = torch.Generator().manual_seed(seed_for(seed, "update", step))
    x_0 = to_float(images[chosen])
    mirrored = torch.rand(batch, generator=rng) < 0.5
    x_0 = torch.where(mirrored[:, None, None, None], x_0.flip(-1), x_0)
    offset = torch.rand((), generator=rng)
    t = ((offset + torch.arange(batch) / batch) % 1 * schedule.T).long().clamp(max=schedule.T - 1)
    return x_0, t, torch.randn(x_0.shape, generator=rng)


class EMA:
    """Exponential moving average of a model's parameters, ``decay`` warmed up as (1 + n) / (10 + n)."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay, self.updates = decay, 0
        self.shadow = {name: p.detach().clone() for name, p in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the current weights."""
        self.updates += 1
        rate = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        current = model.state_dict()
        torch._foreach_lerp_(list(self.shadow.values()), [current[name] for name in self.shadow], rate)


@torch.inference_mode()
def held_out_loss(model: nn.Module, schedule: Schedule, images: Tensor, device: torch.device, seed: int = 0) -> dict:
    """Loss at each of five steps over held-out uint8 images, the same noise at every call: {t: mean squared error}."""
    model.eval()
    losses = {}
    for t in HELD_OUT_T:
        rng = torch.Generator().manual_seed(seed_for(seed, "held out", t))
        values = []
        for chunk in images.split(128):
            x_0 = to_float(chunk)
            eps = torch.randn(x_0.shape, generator=rng)
            steps = torch.full((len(x_0),), t, device=device)
            values.append(ddpm_loss(model, schedule, x_0.to(device), steps, eps.to(device)))
        losses[t] = float(torch.cat(values).mean())
    model.train()
    return losses


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then half a cosine down to 2 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def train(
    images: Tensor,
    held_out: Tensor,
    out: Path,
    *,
    model: UNet,
    schedule: Schedule,
    steps: int,
    batch: int = 64,
    lr: float = 5e-4,
    warmup: int = 200,
    ema_decay: float = 0.999,
    clip: float = 1.0,
    seed: int = 0,
    device: torch.device | str = "cpu",
    save_every: int = 500,
    keep_at: tuple[int, ...] = (),
    provenance: Mapping[str, object] | None = None,
    save: Callable[[Path, dict[str, Tensor], dict], None],
) -> dict:
    """Train ``model`` on uint8 ``images`` and write ``out`` (averaged weights) with a record of what made it.

    The complete state goes to ``out`` + ``.state`` every ``save_every`` updates; the same call goes on from there and
    ends with the same numbers as a run that was never stopped.

    Args:
        images: (N, 3, H, W) uint8, the training split.
        held_out: (M, 3, H, W) uint8, never trained on.
        keep_at: updates after which a checkpoint ``<stem>-<update>`` is kept besides the last one.
        save: ``save(path, weights, record)``, how a checkpoint is written (``dipddpm.denoisers.unet``).

    Returns:
        the record: settings, loss curve, held-out loss at five noise levels, seconds.

    Raises:
        InputError: the loss became NaN (the last good state stays on disk), or the state on disk is of another run.
    """
    device = torch.device(device)
    model = model.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0, betas=(0.9, 0.99), fused=True)
    ema = EMA(model, ema_decay)
    settings = dict(
        steps=steps, batch=batch, lr=lr, warmup=warmup, ema_decay=ema_decay, clip=clip, seed=seed, T=schedule.T,
        model=model.config, images=len(images), held_out=len(held_out),
    )  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    state_file = out.with_suffix(out.suffix + ".state")
    done, curve, seconds = 0, [], 0.0
    if state_file.exists():
        state = torch.load(state_file, map_location=device, weights_only=True)
        if json.loads(state["settings"]) != settings:
            raise InputError(f"{state_file} belongs to a run with other settings: delete it or choose another --out")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        ema.shadow, ema.updates = state["ema"], state["ema_updates"]
        done, curve, seconds = state["done"], state["curve"], state["seconds"]

    def record(at: int) -> dict:
        averaged = UNet(**model.config).to(device)
        averaged.load_state_dict(ema.shadow)
        return {
            **settings,
            **(provenance or {}),
            "updates": at,
            "images_seen": at * batch,
            "seconds": round(seconds, 1),
            "loss_curve": curve,
            "held_out_loss": held_out_loss(averaged, schedule, held_out, device),
        }

    started, window = time.perf_counter() - seconds, []
    bar = tqdm(
        range(done, steps), initial=done, total=steps, unit="update", mininterval=2, dynamic_ncols=True, file=sys.stderr
    )
    for step in bar:
        x_0, t, eps = (part.to(device, non_blocking=True) for part in draw_batch(images, schedule, batch, seed, step))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, lr, warmup)
        loss = ddpm_loss(model, schedule, x_0.contiguous(memory_format=torch.channels_last), t, eps).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        window.append(float(loss.detach()))
        if not math.isfinite(window[-1]):
            raise InputError(f"the loss became {window[-1]} at update {step}; {state_file} holds the last good state")
        optimizer.step()
        ema.update(model)
        at, seconds = step + 1, time.perf_counter() - started
        if at % 100 == 0 or at == steps:
            curve.append([at, round(sum(window) / len(window), 5)])
            bar.set_postfix(loss=f"{curve[-1][1]:.4f}", images_s=f"{at * batch / seconds:.0f}")
            window.clear()
        if at % save_every == 0 or at == steps:
            state = dict(
                model=model.state_dict(), optimizer=optimizer.state_dict(), ema=ema.shadow, ema_updates=ema.updates,
                done=at, curve=curve, seconds=seconds, settings=json.dumps(settings),
            )  # fmt: skip
            partial = state_file.with_suffix(".partial")
            torch.save(state, partial)
            partial.replace(state_file)
        if at in keep_at:
            save(out.with_stem(f"{out.stem}-{at}"), ema.shadow, record(at))
    final = record(steps)
    save(out, ema.shadow, final)
    return final
