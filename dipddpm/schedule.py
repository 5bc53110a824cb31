"""The diffusion itself: beta, alpha_bar and the closed forms that follow from them, for any subset of steps.

Notation: ``x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps`` with t counted from 0; t = -1 is the
clean image (alpha_bar = 1). Source: Ho, Jain, Abbeel, "Denoising Diffusion
Probabilistic Models", 2006.11239, section 2.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from dipddpm.errors import InputError


class Schedule:
    """A variance schedule, kept in float64: products of a thousand factors lose digits in float32.

    Args:
        beta: (T,) variances, each in (0, 1).
    """

    def __init__(self, beta: Tensor):
        if beta.ndim != 1 or not len(beta) or not bool(((beta > 0) & (beta < 1)).all()):
            raise InputError("a schedule takes a vector of beta with every value in (0, 1)")
        self.beta = beta.to(torch.float64).cpu()
        self.alpha_bar = torch.cumprod(1 - self.beta, dim=0)

    @classmethod
    def linear(cls, T: int = 1000, first: float = 1e-4, last: float = 0.02) -> Schedule:
        """The linear schedule of DDPM (section 4)."""
        return cls(torch.linspace(first, last, T, dtype=torch.float64))

    @property
    def T(self) -> int:
        """Number of training steps."""
        return len(self.beta)

    def abar(self, t: int) -> float:
        """``alpha_bar_t``, and 1 at t = -1."""
        return 1.0 if t < 0 else float(self.alpha_bar[t])

    def snr(self, t: int) -> float:
        """``alpha_bar_t / (1 - alpha_bar_t)``."""
        return self.abar(t) / (1 - self.abar(t))

    def matched_step(self, sigma: float) -> int:
        """The step whose noise, relative to its signal, is nearest to ``sigma``: sqrt(1 / snr_t) = sigma."""
        return int(((1 - self.alpha_bar) / self.alpha_bar).sqrt().sub(sigma).abs().argmin())

    def sqrt_abar(self, t: Tensor, like: Tensor) -> Tensor:
        """``sqrt(alpha_bar_t)`` for t of shape (N,), shaped to multiply ``like`` (N, ...)."""
        return _spread(_factors(self, like)[0], t, like)

    def sigma(self, t: Tensor, like: Tensor) -> Tensor:
        """``sqrt(1 - alpha_bar_t)`` for t of shape (N,), shaped to multiply ``like`` (N, ...)."""
        return _spread(_factors(self, like)[1], t, like)

    def q_sample(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t given x_0 (DDPM eq. 4). Shapes: x_0 and eps (N, C, H, W), t (N,) long."""
        return self.sqrt_abar(t, x_0) * x_0 + self.sigma(t, x_0) * eps

    def predict_x0(self, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """The x_0 that makes ``x_t`` out of ``eps``: the inverse of :meth:`q_sample`."""
        return (x_t - self.sigma(t, x_t) * eps) / self.sqrt_abar(t, x_t)

    def posterior(self, t: int, t_prev: int) -> tuple[float, float, float]:
        """q(x_s | x_t, x_0) for any earlier step s = ``t_prev`` < t: coefficients of x_0 and x_t, and the variance.

        DDPM eq. 6-7 with alpha_t replaced by ``alpha_bar_t / alpha_bar_s``, so that a respaced sampler is exact for
        the steps it visits. At ``t_prev = -1`` the variance is 0 and the mean is x_0.
        """
        if not -1 <= t_prev < t < self.T:
            raise InputError(f"posterior needs -1 <= t_prev < t < {self.T}, got t={t}, t_prev={t_prev}")
        abar_t, abar_s = self.abar(t), self.abar(t_prev)
        alpha = abar_t / abar_s
        of_x0 = abar_s**0.5 * (1 - alpha) / (1 - abar_t)
        of_xt = alpha**0.5 * (1 - abar_s) / (1 - abar_t)
        variance = (1 - alpha) * (1 - abar_s) / (1 - abar_t)
        return of_x0, of_xt, variance

    def steps(self, count: int, t_start: int | None = None) -> list[int]:
        """``count`` steps from ``t_start`` (T - 1 by default) downwards, evenly spaced, the first being ``t_start``.

        "Trailing" spacing (Lin et al. 2305.08891, section 3.3): the last visited step jumps to the clean image.

        Raises:
            InputError: ``t_start`` is no step of the schedule, or more steps than there are from it to 0, or none.
        """
        t_start = self.T - 1 if t_start is None else t_start
        if not 0 <= t_start < self.T:
            raise InputError(f"t0 must be one of the {self.T} steps 0..{self.T - 1} of the schedule, got {t_start}")
        if not 1 <= count <= t_start + 1:
            raise InputError(f"{count} steps do not fit below t0={t_start}: choose 1..{t_start + 1}")
        return [round((t_start + 1) * (count - i) / count) - 1 for i in range(count)]


_FACTORS: WeakKeyDictionary[Schedule, dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]]] = (
    WeakKeyDictionary()
)
"""Kept beside the schedules and not in them: a schedule is known by what it holds."""


def _factors(schedule: Schedule, like: Tensor) -> tuple[Tensor, Tensor]:
    """Every sqrt(alpha_bar_t) and every sqrt(1 - alpha_bar_t), computed in float64, as ``like`` holds its numbers.

    They are copied to a device once. Looked up on the CPU, each t of a GPU would have to be waited for.
    """
    kept, place = _FACTORS.setdefault(schedule, {}), (like.device, like.dtype)
    if place not in kept:
        with torch.inference_mode(False):  # a tensor made within could take part in no gradient later
            kept[place] = schedule.alpha_bar.sqrt().to(*place), (1 - schedule.alpha_bar).sqrt().to(*place)
    return kept[place]


def _spread(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    return values[t.to(values.device)].reshape(-1, *[1] * (like.ndim - 1))
