"""edm, flow: networks of other kinds of generative models, shown to the samplers as what predicts the noise.

Every Gaussian diffusion is the same up to scale: at a noise level sigma per unit of signal, the states of the others
are ``x_0 + sigma eps`` (EDM) and ``(x_0 + sigma eps) / (1 + sigma)`` (flow matching on straight lines), and ours is
``sqrt(abar) (x_0 + sigma eps)`` with sigma^2 = (1 - abar) / abar.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from importlib import import_module
from typing import ClassVar

import torch
from torch import Tensor, nn

from dipddpm.denoisers import Denoiser
from dipddpm.denoisers.evaluation import check_finite
from dipddpm.errors import InputError
from dipddpm.schedule import Schedule


class ForeignDenoiser(Denoiser):
    """A network of another package, by the place of a function that makes it: ``KIND:MODULE:FUNCTION``.

    The function takes nothing and returns an ``nn.Module`` for images (N, 3, size, size) in [-1, 1], with an attribute
    ``size`` in pixels. A subclass says what the module is given, and what it returns.

    Raises:
        InputError: there is no such module or function; what it makes has no size, weights that are not finite, or
            another answer than an image for an image: one that learns its variance, works on latents, or is conditional
            has to be wrapped into one that does not show it.
    """

    form: ClassVar[str]
    """How the module is called, for messages."""
    sigma_max: ClassVar[float | None] = None
    """Largest noise level that such a network is trained at where it does not say so itself; None for any."""

    def __init__(self, location: str | None = None, device: torch.device | str = "cpu"):
        module, _, function = (location or "").partition(":")
        if not module or not function:
            raise InputError(f"the denoiser {self.name} needs a location: write {self.name}:MODULE:FUNCTION")
        self.label = f"{self.name}:{location}"
        try:
            make = getattr(import_module(module), function)
        except ImportError as error:
            raise InputError(f"{self.label}: {error}; is its folder on PYTHONPATH?") from error
        except AttributeError as error:
            raise InputError(f"{self.label}: {module} has no {function}") from error
        made = make()
        size = getattr(made, "size", None)
        if not isinstance(made, nn.Module) or not isinstance(size, int) or size < 1:
            raise InputError(f"{self.label}: {function}() must return an nn.Module with an attribute size, in pixels")
        check_finite(made.state_dict(), self.label)
        self.size, self.device = size, torch.device(device)
        self.opens = (module,)
        self.fingerprint = _hash(made, self.name)
        self._network = made.to(self.device).eval()
        self.schedule = self._schedule(made)
        self._check_answer()

    def _schedule(self, network: nn.Module) -> Schedule:
        """The steps that our samplers visit: those of DDPM, as far as the network was trained."""
        schedule, most = Schedule.linear(), getattr(network, "sigma_max", self.sigma_max)
        if most is None:
            return schedule
        within = ((1 - schedule.alpha_bar) / schedule.alpha_bar).sqrt() <= most
        if not within.any():
            raise InputError(f"{self.label}: sigma_max {most:g} is less than the noise of the first step")
        return Schedule(schedule.beta[within])

    @torch.inference_mode()
    def eps(self, x_t: Tensor, t: int) -> Tensor:
        """As :meth:`Denoiser.eps`."""
        abar = self.schedule.abar(t)
        return self.noise(x_t.float() / abar**0.5, ((1 - abar) / abar) ** 0.5)

    @abstractmethod
    def noise(self, x: Tensor, sigma: float) -> Tensor:
        """eps, given x_0 + sigma eps."""

    def _answer(self, x: Tensor, level: float) -> Tensor:
        """What the network makes of a batch, all of it at one level."""
        return self._network(x, torch.full((len(x),), level, device=x.device)).float()

    def _check_answer(self) -> None:
        x = torch.zeros(2, 3, self.size, self.size, device=self.device)
        takes = f"{self.form} for images (2, 3, {self.size}, {self.size})"
        try:
            with torch.inference_mode():
                answer = self._answer(x, 0.5)
        except (RuntimeError, TypeError, AttributeError, ValueError) as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{self.label}: it cannot be called as {takes} ({why})") from error
        if answer.shape != x.shape:
            six = "; it learns its variance, too: return the first three channels" if answer.shape[1:2] == (6,) else ""
            raise InputError(f"{self.label}: {takes} gives {tuple(answer.shape)}{six}")


class EdmDenoiser(ForeignDenoiser):
    """A denoiser by noise level: ``D(x_0 + sigma eps, sigma)`` is x_0 (Karras et al. 2206.00364, eq. 3).

    An attribute ``sigma_max`` of the module is the largest level that it was trained at, 80 where it has none: the
    schedule ends there.
    """

    name = "edm"
    form = "D(x, sigma)"
    sigma_max = 80.0

    def noise(self, x: Tensor, sigma: float) -> Tensor:
        return (x - self._answer(x, sigma)) / sigma


class FlowDenoiser(ForeignDenoiser):
    """A velocity on straight lines: ``v(x_s, s)`` is eps - x_0 at x_s = (1 - s) x_0 + s eps, s from 0 (image) to 1
    (noise), as rectified flow has it (Liu et al. 2209.03003; Lipman et al. 2210.02747 count s the other way)."""

    name = "flow"
    form = "v(x_s, s)"

    def noise(self, x: Tensor, sigma: float) -> Tensor:
        s = sigma / (1 + sigma)
        x_s = x / (1 + sigma)
        return x_s + (1 - s) * self._answer(x_s, s)


def _hash(network: nn.Module, kind: str) -> str:
    """What the weights are known by; the code of the module that makes the network counts beside them."""
    sha = hashlib.sha256(kind.encode())
    for name, weight in sorted(network.state_dict().items()):
        sha.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        sha.update(weight.cpu().contiguous().float().numpy().tobytes())
    return sha.hexdigest()[:16]
