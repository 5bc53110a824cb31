"""Priors: where mu, the image that a reverse diffusion starts from, comes from. One file each.

The hypothesis (``dip``), the controls it must beat, and the bounds are the same kind of thing, so that all go through
the same code after this point.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor

from dipddpm.injection import Injection
from dipddpm.injection.start import Start
from dipddpm.registry import Comparable, choose, discover
from dipddpm.tasks import Observation

if TYPE_CHECKING:  # a prior that uses none is not known by the code of denoisers
    from dipddpm.denoisers import Denoiser

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
        denoiser: the network that also runs the diffusion; None unless the prior declares ``evaluations`` of it.
    """

    observation: Observation
    dip: Tensor | None = None
    x_0: Tensor | None = None
    denoiser: Denoiser | None = None

    def shown_to(self, prior: Prior) -> Evidence:
        """What of it a prior may look at: the DIP, the photographs and the denoiser only where it declares them."""
        return replace(
            self,
            dip=self.dip if prior.uses_dip else None,
            x_0=self.x_0 if prior.leak != "none" else None,
            denoiser=self.denoiser if prior.evaluations else None,
        )


class Prior(Comparable, ABC):
    """A source of mu. Its parameters are arguments of the constructor, with sensible defaults, and kept as attributes.

    What is made of an image does not depend on the others in the batch (unless it ``pairs`` them), and equal evidence
    gives equal bits.

    Class attributes:
        role: ``treatment`` (what the benchmark tests), ``control`` (a cheap rival), ``ablation`` (the treatment with
            its point removed) or ``bound``.
        uses_dip: it needs a DIP fit, whose seconds are charged to it.
        iterations: the only DIP training duration it takes, None for any.
        evaluations: network evaluations per image that making mu takes.
        learned: it was made with training images, besides y.
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
    evaluations: ClassVar[int] = 0
    learned: ClassVar[bool] = False
    leak: ClassVar[str] = "none"
    injection: ClassVar[Injection] = Start()
    pairs: ClassVar[bool] = False
    tuned_as_treatment: ClassVar[bool] = False
    in_generation: ClassVar[bool] = False
    trains_with: ClassVar[tuple[str, ...]] = ()
    instead_of: ClassVar[str] = ""

    @property
    def training_seconds(self) -> float:
        """What its training took, once, in seconds; 0 for a prior that is not learned."""
        return 0.0

    def applies(self, observation: Observation) -> bool:
        """Whether the prior makes sense for an observation."""
        return True

    def variants(self) -> Sequence[Prior]:
        """The same prior with each of the parameters that validation images choose among, the defaults included."""
        return (self,)

    def described(self) -> str:
        """Its parameters in a few words for tables (``weight 0.1, alternations 10``), "" where it has none."""
        return ", ".join(
            f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {value}"
            for name, value in vars(self).items()
        )

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
