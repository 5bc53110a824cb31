"""Samplers: functions of (model, x_t, steps, rng). They visit any descending subset of steps and are exact for it.

``model`` is anything with ``eps(x_t, t)`` and a ``schedule``. ``refine(x_0, t)`` edits the x_0 predicted at every step
t: data consistency, the same in every arm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from dipddpm.errors import InputError
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule


class Model(Protocol):
    """What a sampler needs of a denoiser."""

    schedule: Schedule

    def eps(self, x_t: Tensor, t: int) -> Tensor: ...


Refine = Callable[[Tensor, int], Tensor]
Draw = Callable[[Tensor, int, float, ImageRng], Tensor]
"""(x_0, t, scale, rng) to an x_0 drawn around the one predicted at step t and held to y; see :func:`sample_daps`."""
Step = Callable[[Tensor, Tensor, int, int], Tensor]
Solver = tuple[str, float, int]
"""(sampler, eta, time travel)."""


def predicted_x0(model: Model, x_t: Tensor, t: int, refine: Refine | None, clip: float) -> Tensor:
    """x_0 as the model sees it at step t: one network evaluation, kept in [-clip, clip], then refined."""
    abar = model.schedule.abar(t)
    x_0 = (x_t - (1 - abar) ** 0.5 * model.eps(x_t, t)) / abar**0.5
    if clip:
        x_0 = x_0.clamp(-clip, clip)
    return refine(x_0, t) if refine else x_0


def _reverse(
    model: Model, x_t: Tensor, steps: Sequence[int], rng: ImageRng, step: Step, refine: Refine | None, clip: float,
    travel: int,
) -> Tensor:  # fmt: skip
    _check(model, steps, travel)
    with torch.inference_mode():
        for t, t_prev in zip(steps, [*steps[1:], -1], strict=True):
            for again in range(travel):
                if again:
                    # Back from t_prev to t by the forward process, then down again: the state forgets the seam
                    # between what is observed and what is imagined.
                    ratio = model.schedule.abar(t) / model.schedule.abar(t_prev)
                    x_t = ratio**0.5 * x_t + (1 - ratio) ** 0.5 * rng.randn(*x_t.shape[1:])
                x_t = step(predicted_x0(model, x_t, t, refine, clip), x_t, t, t_prev)
    return x_t


def _check(model: Model, steps: Sequence[int], travel: int) -> None:
    """Raise InputError unless ``steps`` descend within the schedule and each has a pass."""
    if not steps or list(steps) != sorted(set(steps), reverse=True):
        raise InputError(f"a sampler visits steps in strictly descending order, got {list(steps)}")
    if not 0 <= steps[-1] <= steps[0] < model.schedule.T:
        raise InputError(f"a sampler visits steps in 0..{model.schedule.T - 1}, got {list(steps)}")
    if travel < 1:
        raise InputError(f"time travel must be at least 1 (each step once), got {travel}")


def sample_ddpm(
    model: Model, x_t: Tensor, steps: Sequence[int], rng: ImageRng, *, refine: Refine | None = None, clip: float = 1.0,
    travel: int = 1,
) -> Tensor:  # fmt: skip
    """Ancestral sampling (Ho et al. 2006.11239, algorithm 2) with the posterior recomputed for the visited steps.

    Args:
        model: denoiser; one call of ``eps`` a visited step and pass.
        x_t: (N, 3, H, W), the state at ``steps[0]``.
        steps: steps to visit, strictly descending; after the last the image is clean.
        rng: one generator per image, for the noise that is added.
        refine: edit of the x_0 predicted at step t, called as ``refine(x_0, t)`` (data consistency).
        clip: largest value that the predicted x_0 keeps, before ``refine``; 0 leaves it as it is.
        travel: passes over each step, going back by the forward process between them (RePaint 2201.09865, algorithm 1;
            DDNM 2212.00490, section 3.3). Costs ``travel * len(steps)`` evaluations.

    Returns:
        x_0 (N, 3, H, W).
    """

    def step(x_0: Tensor, x: Tensor, t: int, t_prev: int) -> Tensor:
        of_x0, of_xt, variance = model.schedule.posterior(t, t_prev)
        mean = of_x0 * x_0 + of_xt * x
        return mean if t_prev < 0 else mean + variance**0.5 * rng.randn(*x.shape[1:])

    return _reverse(model, x_t, steps, rng, step, refine, clip, travel)


def sample_ddim(
    model: Model, x_t: Tensor, steps: Sequence[int], rng: ImageRng, *, eta: float = 0.0, refine: Refine | None = None,
    clip: float = 1.0, travel: int = 1,
) -> Tensor:  # fmt: skip
    """DDIM (Song et al. 2010.02502, eq. 12 and 16); eta 0 adds no noise, eta 1 is ancestral sampling.

    The direction to x_t is recomputed from the clipped and refined x_0, so that x_t stays explained by both.
    Arguments and result as in :func:`sample_ddpm`.
    """

    def step(x_0: Tensor, x: Tensor, t: int, t_prev: int) -> Tensor:
        abar_t, abar_s = model.schedule.abar(t), model.schedule.abar(t_prev)
        eps = (x - abar_t**0.5 * x_0) / (1 - abar_t) ** 0.5
        sigma = eta * model.schedule.posterior(t, t_prev)[2] ** 0.5
        x_s = abar_s**0.5 * x_0 + max(0.0, 1 - abar_s - sigma**2) ** 0.5 * eps
        return x_s + sigma * rng.randn(*x.shape[1:]) if sigma > 0 else x_s

    return _reverse(model, x_t, steps, rng, step, refine, clip, travel)


def sample_dpmpp_2m(
    model: Model, x_t: Tensor, steps: Sequence[int], rng: ImageRng, *, refine: Refine | None = None, clip: float = 1.0,
    travel: int = 1,
) -> Tensor:  # fmt: skip
    """DPM-Solver++(2M) (Lu et al. 2211.01095, algorithm 2): second order at one evaluation a step, deterministic.

    The first step has no history and the last one leads to the clean image: both are of first order.
    Arguments and result as in :func:`sample_ddpm`, but ``rng`` is not drawn from.

    Raises:
        InputError: ``travel`` other than 1.
    """
    if travel != 1:
        raise InputError(f"dpmpp_2m builds on its last step, which going back breaks: travel must be 1, got {travel}")
    last: tuple[float, Tensor] | None = None  # h and x_0 of the step before

    def step(x_0: Tensor, x: Tensor, t: int, t_prev: int) -> Tensor:
        nonlocal last
        if t_prev < 0:
            return x_0  # lambda is infinite at the clean image, and the limit of the update below is x_0 itself
        # h: the step in lambda = log(sqrt(abar) / sigma) = log(snr) / 2.
        h = (math.log(model.schedule.snr(t_prev)) - math.log(model.schedule.snr(t))) / 2
        # D: x_0 extrapolated along lambda to the middle of the step.
        D = x_0
        if last is not None:
            h_last, x_0_last = last
            r = h_last / h
            D = (1 + 1 / (2 * r)) * x_0 - 1 / (2 * r) * x_0_last
        last = h, x_0
        abar_t, abar_s = model.schedule.abar(t), model.schedule.abar(t_prev)
        return ((1 - abar_s) / (1 - abar_t)) ** 0.5 * x - abar_s**0.5 * math.expm1(-h) * D

    return _reverse(model, x_t, steps, rng, step, refine, clip, travel)


def sample_renoise(
    model: Model, x_t: Tensor, steps: Sequence[int], rng: ImageRng, *, eta: float = 1.0, refine: Refine | None = None,
    clip: float = 1.0, travel: int = 1,
) -> Tensor:  # fmt: skip
    """Fresh noise of ``eta`` times the level at every step: x_s = sqrt(abar_s) x_0 + eta sqrt(1 - abar_s) z.

    With eta 1 this is DDRM with its own eta of 1 (Kawar et al. 2201.11793, eq. 7) and DAPS without draws. Below 1 the
    network is told of more noise than there is, and predicts an image nearer to the mean of what could be: PSNR gains
    0.3 to 1 dB at no cost, detail is lost. deepinv's DDRM divides its noise by sqrt(2), which is an eta of 0.71.
    Arguments and result as in :func:`sample_ddpm`.
    """

    def step(x_0: Tensor, x: Tensor, t: int, t_prev: int) -> Tensor:
        if t_prev < 0:
            return x_0
        abar_s = model.schedule.abar(t_prev)
        return abar_s**0.5 * x_0 + eta * (1 - abar_s) ** 0.5 * rng.randn(*x.shape[1:])

    return _reverse(model, x_t, steps, rng, step, refine, clip, travel)


def noise_levels(schedule: Schedule, count: int, t_start: int | None = None, least: int = 0) -> list[int]:
    """``count`` steps from ``t_start`` (T - 1 by default) downwards whose noise levels are those of EDM.

    The levels, sqrt(1 / snr_t), are spaced evenly in their seventh root down to 0.02 (Karras et al. 2206.00364, eq. 5;
    DAPS anneals by them too), each as near as a step of its own allows. From noise, 15 of 100 steps are below a level
    of 0.2 where :meth:`Schedule.steps` has 5. With 70 % of the pixels missing, DAPS at 100 evaluations gains 0.6 dB.

    Args:
        least: the smallest step to visit.

    Raises:
        InputError: ``t_start`` is no step of the schedule, or more steps than there are from it to ``least``, or none.
    """
    t_start = schedule.T - 1 if t_start is None else t_start
    room = schedule.steps(count, t_start)  # raises where there is no such step, or none to visit
    if len(room) > t_start + 1 - least:
        raise InputError(f"{count} steps from t0={t_start} to {least} do not fit: choose 1..{t_start + 1 - least}")
    level = ((1 - schedule.alpha_bar) / schedule.alpha_bar).sqrt()
    high, low = float(level[t_start]), min(0.02, float(level[t_start]))
    steps = [t_start]
    for i in range(1, count):
        wanted = (high ** (1 / 7) + i / (count - 1) * (low ** (1 / 7) - high ** (1 / 7))) ** 7
        nearest = int((level - wanted).abs().argmin())
        steps.append(max(min(nearest, steps[-1] - 1), least + count - 1 - i))
    return steps


def sample_daps(
    model: Model, x_t: Tensor, steps: Sequence[int], rng: ImageRng, *, eta: float = 0.0, refine: Refine | None = None,
    draw: Draw | None = None, clip: float = 1.0, travel: int = 1,
) -> Tensor:  # fmt: skip
    """Decoupled annealing posterior sampling (DAPS, Zhang et al. 2407.01521, algorithm 1).

    At every step: (1) the probability flow, solved by DDIM, leads from x_t to an image; (2) an x_0 is drawn from
    N(image, r_t^2 I) times the likelihood of y; (3) fresh noise leads to the next step, so that no state remembers the
    errors of the one before. The last step ends in the image of (1), held to y, without noise.

    Two things differ from the paper. Its Langevin dynamics of (2) is an exact draw, as our degradations are linear with
    A A^T a multiple of I. And its r_t = sigma_t, in units of the clean image, is r_t = sqrt(1 - alpha_bar_t), which
    is the same at low noise and at most 1, the spread of images themselves (PiGDM, Song et al. 2023, section 3.3): a
    hundred Langevin steps never reach the spread of 100 that sigma_t has at first, an exact draw does. With one
    evaluation per step and eta 1 the samples are exact for independent pixels of variance 1.

    Args:
        eta: times the deviation of the draw from its mean; 0 draws nothing, so that (2) is the plain ``refine``.
        steps: as in :func:`sample_ddpm`; :func:`noise_levels` gives those that DAPS anneals by.
        draw: step (2), called as ``draw(x_0, t, scale, rng)``, with a scale of 0 at the last step. None perturbs x_0 by
            ``scale * r_t`` and calls ``refine``, which is exact where ``refine`` is a projection.
        travel: evaluations of the flow per step, spread evenly below it. Costs ``travel * len(steps)`` evaluations.

    Other arguments and result as in :func:`sample_ddpm`.

    Raises:
        InputError: also where there are fewer than ``travel`` steps of the schedule from a visited step to 0.
    """

    def perturbed(x_0: Tensor, t: int, scale: float, rng: ImageRng) -> Tensor:
        if scale:
            x_0 = x_0 + scale * (1 - model.schedule.abar(t)) ** 0.5 * rng.randn(*x_0.shape[1:])
        return refine(x_0, t) if refine else x_0

    _check(model, steps, travel)
    draw = draw or perturbed
    with torch.inference_mode():
        for t, t_prev in zip(steps, [*steps[1:], -1], strict=True):
            image = sample_ddim(model, x_t, model.schedule.steps(travel, t), rng, clip=clip)
            x_0 = draw(image, t, 0.0 if t_prev < 0 else eta, rng)
            if t_prev < 0:
                return x_0
            abar_s = model.schedule.abar(t_prev)
            x_t = abar_s**0.5 * x_0 + (1 - abar_s) ** 0.5 * rng.randn(*x_t.shape[1:])
    raise AssertionError("the last visited step returns")


class Sampler(Protocol):
    """What every sampler shares, so that one can stand for another; see :func:`sample_ddpm`."""

    def __call__(
        self, model: Model, x_t: Tensor, steps: Sequence[int], rng: ImageRng, *, refine: Refine | None = None,
        clip: float = 1.0, travel: int = 1,
    ) -> Tensor: ...  # fmt: skip


SAMPLERS: Mapping[str, Sampler] = {
    "ddpm": sample_ddpm, "ddim": sample_ddim, "dpmpp_2m": sample_dpmpp_2m, "renoise": sample_renoise,
    "daps": sample_daps,
}  # fmt: skip
"""Every sampler by name, each with its defaults (``ddim`` is deterministic: eta 0)."""

WITH_ETA = ("ddim", "renoise", "daps")
"""Samplers that take an eta."""

BY_LEVEL = ("renoise", "daps")
"""Samplers that forget their state, so that their steps can be spaced by noise level (:func:`noise_levels`)."""
