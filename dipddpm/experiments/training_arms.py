"""The arms of the training comparison: how a prior enters the training of a network, and which prior.

Besides the networks that are trained, a table has two rows for each prior that any of them is given: the prior alone,
without a network, and the plain network whose sampling starts from the prior. A network that was trained with a prior
and is no better than these two has learned nothing from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from dipddpm.experiments.axes import axis
from dipddpm.injection import Injection, injections
from dipddpm.injection.none import NoInjection
from dipddpm.priors import HYPOTHESIS, Prior, priors
from dipddpm.sampling import Solver

Part = Literal["plain", "treatment", "control", "prior"]
Use = Literal["trained", "start", "alone"]
OTHER_IMAGES = "other"


@dataclass(frozen=True)
class TrainingAxes:
    """What the training experiment covers.

    Attributes (besides the axes, whose meaning stands beside each of them):
        lr: learning rate, reached after ``warmup`` updates and then constant, so that a longer run can continue a
            shorter one.
        solvers: those that each arm may restore with.
        prior_batch: images whose DIPs are fitted at once.
    """

    tasks: tuple[str, ...] = axis(
        "training.task", "degradations that are restored", ("super_resolution",), adds_cells=True
    )
    images: int = axis("training.images", "images that the networks are trained on, at most", 64)
    channels: tuple[int, ...] = axis("training.channels", "of the networks", (16, 32))
    batch: int = axis("training.batch", "images per update", 16)
    updates: tuple[int, ...] = axis(
        "training.updates", "after which the networks are looked at", (10, 30, 80), adds_cells=True, ascending=True
    )
    nfe: int = axis("training.nfe", "network evaluations of every arm", 5)
    architecture: str = axis("training.dip.architecture", "of the DIP whose output enters", "deep_decoder")
    iterations: int = axis("training.dip.iterations", "of that DIP, and of the fit of initial weights", 50)
    population: int = axis(
        "training.population", "test photographs that are restored to be judged together, at most", 48
    )
    lr: float = 2e-3
    warmup: int = 10
    solvers: tuple[Solver, ...] = (("ddim", 0.0, 1), ("ddim", 1.0, 1))
    prior_batch: int = 64


@dataclass(frozen=True)
class TrainingArm:
    """How a prior enters the training, and which.

    Attributes:
        injection: how it enters.
        prior: what enters; None where nothing enters, or where the prior enters as initial weights.
        fitted_to: for an injection that initialises the weights, whose images they are fitted to: "dip" for the
            training images, "other" for those of another set.
        use: "trained", a network that is trained with the prior; "start", the plain network, whose sampling starts from
            the prior; "alone", the prior without a network.
    """

    injection: Injection
    prior: Prior | None = None
    fitted_to: str = ""
    use: Use = "trained"

    @property
    def name(self) -> str:
        """How tables name it: ``residual-dip``, ``none-start-dip``, ``dip-alone``."""
        if self.prior and self.use != "trained":
            return (
                f"{self.prior.name}-alone" if self.use == "alone" else f"{self.injection.name}-start-{self.prior.name}"
            )
        what = self.prior.name if self.prior else self.fitted_to
        return f"{self.injection.name}-{what}" if what else self.injection.name

    @property
    def part(self) -> Part:
        """Its part in the comparison: the plain network, the DIP, a control for the DIP, or a prior alone."""
        if self.use == "alone":
            return "prior"
        if self.prior is None and not self.fitted_to:
            return "plain"
        treatment = self.fitted_to == HYPOTHESIS or (self.prior is not None and self.prior.role == "treatment")
        return "treatment" if treatment else "control"

    @property
    def takes_mu(self) -> bool:
        """Whether restoring an image with this arm needs the prior of that image."""
        return self.prior is not None and (self.injection.sees_mu or self.use != "trained")


PLAIN = TrainingArm(NoInjection())
"""Nothing enters."""


def training_arms(applies: Callable[[Prior], bool]) -> list[TrainingArm]:
    """Every arm that makes sense for a task: the plain network; each injection that a network is trained for, with the
    DIP; and the same injections with every other prior, or with weights fitted to other images, in place of the DIP.

    Args:
        applies: whether a prior makes sense for the task's observations.
    """
    trained = [kind() for kind in injections().values() if kind.trained]
    able = [made for kind in priors().values() if applies(made := kind())]
    replaced = {made.instead_of for made in able}
    treatments = [
        TrainingArm(entry, made) for entry in trained if entry.sees_mu for made in able if made.role == "treatment"
    ]
    treatments += [TrainingArm(entry, fitted_to=HYPOTHESIS) for entry in trained if entry.initialises]
    controls = [
        TrainingArm(entry, made)
        for entry in trained
        for made in able
        if entry.name in made.trains_with and made.name not in replaced
    ]
    controls += [TrainingArm(entry, fitted_to=OTHER_IMAGES) for entry in trained if entry.initialises]
    return [PLAIN, *treatments, *controls]


def untrained_rows(arms: Sequence[TrainingArm]) -> list[TrainingArm]:
    """For each prior that a network of ``arms`` is given: the plain network with sampling that starts from it, and the
    prior alone."""
    given = list(dict.fromkeys(arm.prior for arm in arms if arm.prior is not None and arm.takes_mu))
    uses: tuple[Use, ...] = ("start", "alone")
    return [TrainingArm(PLAIN.injection, prior, use=use) for use in uses for prior in given]
