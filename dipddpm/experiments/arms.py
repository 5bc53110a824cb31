"""Arms: the competitors of one task, in the order in which tables introduce them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dipddpm.experiments.profiles import Profile
from dipddpm.priors import priors
from dipddpm.stopping import stopping_rules
from dipddpm.tasks import tasks


@dataclass(frozen=True)
class Arm:
    """A prior and how it enters; for a prior that comes from a DIP, also which DIP.

    Attributes:
        prior: name of the prior.
        architecture: of the DIP; "" for a prior without one.
        iterations: DIP training duration, or the longest that a stopping rule may take.
        stopping: "fixed", or a stopping rule.
        output: "last" or "ema" (a fixed duration only).
        injection: how it enters; "" for the prior's own way.
    """

    prior: str
    architecture: str = ""
    iterations: int = 0
    stopping: str = "fixed"
    output: str = "last"
    injection: str = ""

    @property
    def label(self) -> str:
        """How tables name it: ``dip skip 100``, ``dip skip es-wmv``, ``dip skip 100 raw``."""
        duration = self.iterations if self.stopping == "fixed" else self.stopping
        output = "" if self.output == "last" else self.output
        return " ".join(str(p) for p in (self.prior, self.architecture, duration, output, self.injection) if p)

    @property
    def way(self) -> str:
        """The injection it uses."""
        return self.injection or priors()[self.prior].injection

    @property
    def uses_dip(self) -> bool:
        """It needs a DIP fit."""
        return priors()[self.prior].uses_dip

    @property
    def leak(self) -> str:
        """What it saw that it must not, "none" for an honest arm."""
        rule = stopping_rules().get(self.stopping)
        return rule.leak if rule and rule.leak != "none" else priors()[self.prior].leak

    @property
    def role(self) -> str:
        """Its part in the comparison. A DIP that enters in a way of its own is an ablation, one that leaks a bound."""
        if self.leak != "none":
            return "bound"
        return "ablation" if self.injection else priors()[self.prior].role


def arms(profile: Profile, task: str) -> list[Arm]:
    """Every arm that a profile asks for on a task: each registered prior, over the architectures and durations.

    A task that leaks the photograph enters no comparison; it has what people publish on it, noise and DIP starts.
    """
    if tasks()[task].leak != "none":
        starts = [Arm("dip", a, i) for a in profile.architectures_for(task) for i in profile.iterations]
        return [Arm("noise"), *starts]
    architectures, longest = profile.architectures_for(task), profile.iterations[-1]
    ablated = architectures if profile.ablate_each else architectures[:1]
    listed: list[Arm] = []
    for name, prior in priors().items():
        if not prior.uses_dip:
            listed.append(Arm(name))
        elif name == "untrained":
            listed += [Arm(name, architecture) for architecture in ablated]
        elif prior.role == "treatment":
            listed += [Arm(name, a, i) for a in architectures for i in profile.iterations]
            for a in ablated:
                listed += [Arm(name, a, longest, stopping=rule) for rule in stopping_rules()]
                listed += [Arm(name, a, longest, output="ema"), Arm(name, a, longest, injection="raw")]
        else:  # at the longest duration, where there is most to lose
            listed += [Arm(name, architecture, longest) for architecture in ablated]
    order = ("control", "treatment", "ablation", "bound")
    return sorted(listed, key=lambda arm: order.index(arm.role))


def budgets(arm: Arm, profile: Profile, task: str) -> list[int]:
    """Budgets (network evaluations) that an arm runs at. 0 is the prior alone, without diffusion."""
    if arm.way == "none" and tasks()[task].leak == "none":
        return [*profile.budgets, *profile.noise_budgets]
    if arm.way == "none":
        return list(profile.budgets)
    if arm.role in ("treatment", "control") or arm.stopping != "fixed":
        return [0, *profile.budgets]
    return list(profile.budgets)


def tuned_as(arm: Arm, profile: Profile, task: str, budget: int) -> Arm:
    """The arm whose validation runs choose the setting of this one at a budget: itself, with two exceptions.

    Variations of a fitted DIP (another image's, another stopping rule or output) and the oracle run with the setting of
    the plain DIP of the longest duration, since they ask what the very same procedure does with another mu. Unless the
    profile tunes each, the settings of the task's first architecture serve all, published width or matched. A prior
    alone has no setting: it is looked at itself.
    """
    if not budget:
        return arm
    first = profile.architectures_for(task)[0]
    if arm.prior in ("shuffled", "oracle") or arm.stopping != "fixed" or arm.output != "last":
        arm = Arm("dip", arm.architecture or first, profile.iterations[-1], injection=arm.injection)
    if arm.uses_dip and not profile.tune_each:
        arm = replace(arm, architecture=first)
    return arm
