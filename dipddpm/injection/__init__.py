"""Injections: how a prior enters the diffusion. One file each; every hook's default is "do nothing".

Most ways in need nothing of the network. The three that a network is trained for change what it sees (``condition``) or
what its training begins with (``initialise``).
"""

from __future__ import annotations

import sys
from abc import ABC
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from dipddpm.errors import InputError
from dipddpm.registry import choose, discover
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule
from dipddpm.tasks import Observation


class Injection(ABC):
    """A way in. The default of :meth:`start` is the DDPM's own: pure noise at the last step.

    Class attributes:
        uses_mu: the reverse diffusion needs the prior.
        trained: a network is trained for it, so that it is no choice of an arm that runs a given network.
        sees_mu: what the network is shown depends on the prior, so that no other way in can use that network.
        initialises: :meth:`initialise` changes the weights that training begins with.
        channels: of the network's input.
    """

    name: ClassVar[str]
    uses_mu: ClassVar[bool] = True
    trained: ClassVar[bool] = False
    sees_mu: ClassVar[bool] = False
    initialises: ClassVar[bool] = False
    channels: ClassVar[int] = 3

    def start(
        self, mu: Tensor | None, shape: tuple[int, int, int], schedule: Schedule, t0: int, rng: ImageRng
    ) -> tuple[Tensor, int]:
        """The state the reverse diffusion begins in.

        Args:
            mu: prior (N, 3, H, W) in [-1, 1], None where the injection uses none.
            shape: (3, H, W) of one image.
            t0: the step to enter at.

        Returns:
            x_t (N, 3, H, W) and its step t.
        """
        return rng.randn(*shape), schedule.T - 1

    def condition(self, x_t: Tensor, t: Tensor, mu: Tensor | None, schedule: Schedule) -> Tensor:
        """What the network is shown in place of ``x_t``, in training and in sampling alike.

        Args:
            x_t: (N, 3, H, W), the state of the plain diffusion, whose x_0 is the photograph.
            t: (N,) its steps.
            mu: prior (N, 3, H, W) in [-1, 1].

        Returns:
            (N, channels, H, W).
        """
        return x_t

    def initialise(  # noqa: B027
        self, model: nn.Module, observation: Observation, schedule: Schedule, rng: ImageRng, iterations: int
    ) -> None:
        """Change the weights, in place, that training begins with; ``observation`` is all there is to learn from."""

    def t0s(self, schedule: Schedule, sigma: float, grid: Sequence[int]) -> list[int]:
        """The steps that it can enter at, of a ``grid``; ``sigma`` is the noise of the observation."""
        return [schedule.T - 1]


def injections() -> Mapping[str, type[Injection]]:
    """Every injection, by name."""
    return discover(sys.modules[__name__], Injection)


def injection(name: str) -> Injection:
    """The injection of that name.

    Raises:
        InputError: there is none; the message lists all.
    """
    return injections()[choose("injection", name, injections())]()


def check_trained_for(made: str, wanted: str, what: str) -> None:
    """Refuse a network that was trained for another way in than the one it is asked to serve.

    Args:
        made: the injection it was trained with.
        wanted: the injection it is to be used with.
        what: how a message names it.

    Raises:
        InputError: the two show the network different things.
    """
    if made != wanted and (injection(made).sees_mu or injection(wanted).sees_mu):
        fix = f"train one for it (dipddpm train --injection {wanted})"
        if injection(made).sees_mu:
            fix = (
                f"restore with it in Python, from priors made as those of its training: "
                f"UNetDenoiser(FILE, way={made!r}) and Setting(NFE, {made!r})"
            )
        raise InputError(f"{what} was trained with injection {made!r}: it cannot serve {wanted!r}; {fix}")
