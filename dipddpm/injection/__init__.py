"""Injections: how a prior enters the diffusion. One file each; every hook's default is "do nothing".

Most injections need nothing of the network. Three are trained for: they change what the network sees (``condition``) or
the weights that its training begins with (``initialise``).
"""

from __future__ import annotations

import sys
from abc import ABC
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from dipddpm.errors import InputError
from dipddpm.registry import Comparable, choose, discover
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule
from dipddpm.tasks import Observation


class Injection(Comparable, ABC):
    """How a prior enters. The default of :meth:`start` is the DDPM's own: pure noise at the last step.

    Class attributes:
        uses_mu: the reverse diffusion needs the prior.
        starts_at_T: it always enters at the last step, so that there is no t0 to choose.
        ablation: it is run beside the prior's own injection to show what that one is worth.
        trained: a network is trained for it; an arm that runs a given network cannot choose it.
        sees_mu: what the network is shown depends on the prior, so that no other injection can use that network.
        initialises: :meth:`initialise` changes the weights that training begins with.
        channels: channels of the network's input.
    """

    name: ClassVar[str]
    uses_mu: ClassVar[bool] = True
    starts_at_T: ClassVar[bool] = True
    ablation: ClassVar[bool] = False
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

    def initialise(
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


def check_trained_for(made: Injection, wanted: Injection, what: str) -> None:
    """Refuse a network that was trained for another injection than the one it is asked to serve.

    Args:
        made: the injection it was trained with.
        wanted: the injection it is to be used with.
        what: how a message names it.

    Raises:
        InputError: the two show the network different things.
    """
    if made != wanted and (made.sees_mu or wanted.sees_mu):
        fix = f"train one for it (dipddpm train --injection {wanted.name})"
        if made.sees_mu:
            fix = (
                f"restore with it in Python, from priors made as those of its training: "
                f"UNetDenoiser(FILE, injection={made.name!r}) and Setting(NFE, injection({made.name!r}))"
            )
        raise InputError(f"{what} was trained with injection {made.name!r}: it cannot serve {wanted.name!r}; {fix}")
