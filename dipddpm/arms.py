"""Arms: the competitors of one task, in the order in which tables introduce them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dipddpm.priors import priors
from dipddpm.profiles import Profile


@dataclass(frozen=True)
class Arm:
    """A prior, and for a prior that comes from a DIP its architecture ("" for none) and training duration."""

    prior: str
    architecture: str = ""
    iterations: int = 0

    @property
    def label(self) -> str:
        """How tables name it: ``dip skip 100``."""
        return " ".join(str(part) for part in (self.prior, self.architecture, self.iterations) if part)

    @property
    def uses_dip(self) -> bool:
        """It needs a DIP fit."""
        return priors()[self.prior].uses_dip


def arms(profile: Profile) -> list[Arm]:
    """Every arm that a profile asks for: each registered prior, over architectures and durations where it has them."""
    listed: list[Arm] = []
    for name, prior in priors().items():
        if not prior.uses_dip:
            listed.append(Arm(name))
        elif name == "untrained":
            listed += [Arm(name, architecture, 0) for architecture in profile.architectures]
        elif prior.role == "treatment":
            listed += [Arm(name, a, i) for a in profile.architectures for i in profile.iterations]
        else:  # an ablation of the fitted DIP: at the longest duration, where there is most to lose
            listed += [Arm(name, architecture, profile.iterations[-1]) for architecture in profile.architectures]
    order = {"control": 0, "treatment": 1, "ablation": 2, "bound": 3}
    return sorted(listed, key=lambda arm: order[priors()[arm.prior].role])


def budgets(arm: Arm, profile: Profile) -> list[int]:
    """Budgets (network evaluations) that an arm runs at. 0 is the prior alone, without diffusion."""
    role = priors()[arm.prior].role
    alone = [0] if role in ("treatment", "control") and priors()[arm.prior].injection != "none" else []
    longer = profile.control_budgets if role == "control" else ()
    return [*alone, *profile.budgets, *longer]


def tuned_as(arm: Arm, profile: Profile) -> Arm:
    """The arm whose validation runs choose the setting of this one.

    Itself, but: the shuffled DIP and the oracle run with the setting of the longest DIP, since they ask what the very
    same procedure does with a wrong and with a perfect prior; and one architecture serves all unless the profile
    tunes each.
    """
    prior = priors()[arm.prior]
    if prior.role == "bound" or arm.prior == "shuffled":
        arm = Arm("dip", arm.architecture or profile.architectures[0], profile.iterations[-1])
    if arm.architecture and not profile.tune_each:
        arm = replace(arm, architecture=profile.architectures[0])
    return arm
