"""Priors: where mu, the image that a reverse diffusion starts from, comes from. One file each.

The hypothesis (``dip``), the controls it must beat, and the bounds are the same kind of thing, so that all go through
the same code after this point.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from dipddpm.injection import Injection
from dipddpm.injection.start import Start
from dipddpm.registry import Comparable, choose, discover
from dipddpm.tasks import Observation

ArmRole = Literal["treatment", "control", "ablation", "bound"]
HYPOTHESIS, COMPARATOR = "dip", "noise"
"""Names of the prior under test, and of the control that every arm is also compared with at equal evaluations."""


@dataclass(frozen=True)
class Evidence:
    """What a prior is made from.

    Attributes:
        observation: y and its operator.
        dip: output of the DIP fit that the arm asks for, (N, 3, H, W) in [-1, 1]; None where it asks for none.
        x_0: the photographs; None unless the prior declares the leak tier ``clean-target``.
    """

    observation: Observation
    dip: Tensor | None = None
    x_0: Tensor | None = None


class Prior(Comparable, ABC):
    """A source of mu.

    Class attributes:
        role: ``treatment`` (what the benchmark tests), ``control`` (a cheap rival), ``ablation`` (the treatment with
            its point removed) or ``bound``.
        uses_dip: it needs a DIP fit, whose seconds are charged to it.
        iterations: the only DIP training duration it takes, None for any.
        leak: ``none``, or ``clean-target`` where it looks at the photograph; such rows never enter a contrast.
        injection: how mu enters the diffusion.
        pairs: an image is given what was made from the image before it in the batch.
        tuned_as_treatment: it runs with the settings of the plain DIP, since it asks what the very same procedure does
            with another mu.
        in_generation: it starts a population of the generation experiment.
        trains_with: names of the injections that a network is trained with it as a control for the DIP.
        instead_of: name of the prior whose place it takes in the training comparison wherever it applies.
        learned: it was made with training images beyond y.
        training_seconds: what that training took, once; amortised over the images of a break-even.
    """

    name: ClassVar[str]
    role: ClassVar[ArmRole]
    uses_dip: ClassVar[bool] = False
    iterations: ClassVar[int | None] = None
    leak: ClassVar[str] = "none"
    injection: ClassVar[Injection] = Start()
    pairs: ClassVar[bool] = False
    tuned_as_treatment: ClassVar[bool] = False
    in_generation: ClassVar[bool] = False
    trains_with: ClassVar[tuple[str, ...]] = ()
    instead_of: ClassVar[str] = ""
    learned: ClassVar[bool] = False
    training_seconds: float = 0.0

    def applies(self, observation: Observation) -> bool:
        """Whether the prior makes sense for an observation."""
        return True

    def described(self) -> str:
        """Its parameters in a few words for tables, "" where it has none."""
        return ""

    @abstractmethod
    def mu(self, evidence: Evidence) -> Tensor | None:
        """The prior image (N, 3, H, W) in [-1, 1]; None for the prior that is no image."""


def priors() -> Mapping[str, type[Prior]]:
    """Every prior, by name."""
    return discover(sys.modules[__name__], Prior)


def prior(name: str) -> Prior:
    """The prior of that name.

    Raises:
        InputError: there is none; the message lists all.
    """
    return priors()[choose("prior", name, priors())]()
