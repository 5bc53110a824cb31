"""Arms: the competitors of one task, in the order in which tables introduce them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dipddpm.experiments.axes import axis
from dipddpm.experiments.recipes import Recipe, as_recipe, at_equal_cost
from dipddpm.experiments.tuning import NOISE_SOLVERS, START_SOLVERS
from dipddpm.injection import Injection, injection, injections
from dipddpm.injection.start import Start
from dipddpm.priors import COMPARATOR, HYPOTHESIS, ArmRole, Prior, prior, priors
from dipddpm.restore import Setting
from dipddpm.sampling import Solver
from dipddpm.stopping import StoppingRule, stopping_rule_class
from dipddpm.tasks import tasks


@dataclass(frozen=True)
class RestorationAxes:
    """What the restoration experiment covers.

    Every arm may spend its evaluations on more steps, or on more samples that are averaged into one restoration. The
    arms that do best on the validation images are offered more evaluations (``offers``), up to what a DIP costs.

    Attributes (besides the axes, whose meaning stands beside each of them):
        few_architectures: DIP architectures on all tasks but the first; leaking_architectures: those on a task that
            leaks the photograph and enters no comparison. Empty: the same architectures on every task.
        few_ways: ways of fitting on all tasks but the first; None: the same ways on every task.
        few_budgets: the part of the budgets that runs on all tasks but the first; empty: the same budgets on every
            task.
        solvers: those that a start may run with; noise_solvers: the same for the start from noise.
        tune_each: tune every architecture by itself; else all use the settings tuned for the first one.
        ablate_each: run the ablations on every architecture, and not on the first alone.
    """

    images: int = axis("images", "test images")
    validation_images: int = axis("validation_images", "images that settings are chosen on")
    tasks: tuple[str, ...] = axis("task", "degradations; the ablations run on the first", adds_cells=True)
    architectures: tuple[str, ...] = axis(
        "dip.architecture",
        "DIP architectures; NAME:32 is 32 channels wide, NAME:matched has as many parameters as the first one has",
        adds_cells=True,
        clears=("few_architectures", "leaking_architectures"),
    )
    iterations: tuple[int, ...] = axis(
        "dip.iterations",
        "DIP training durations besides 0, of the first architecture; the others are fitted at equal cost",
        adds_cells=True,
        least=0,
        ascending=True,
    )
    budgets: tuple[int, ...] = axis(
        "nfe", "network evaluations of every arm, each an independent run", adds_cells=True, ascending=True,
        clears=("few_budgets",),
    )  # fmt: skip
    noise_budgets: tuple[int, ...] = axis(
        "noise.nfe", "further ones from noise: what the price of a DIP would buy it", adds_cells=True, ascending=True
    )
    offers: tuple[int, ...] = axis(
        "offer", "evaluations that the best starts are offered: what the price of a DIP would buy them", (),
        adds_cells=True, ascending=True,
    )  # fmt: skip
    offered_controls: int = axis("offer.controls", "controls that are offered them, of each judge", 2, adds_cells=True)
    samples: tuple[int, ...] = axis("samples", "numbers of samples whose mean is the answer", (1, 5))
    long_iterations: tuple[int, ...] = axis(
        "dip.long", "further durations, of the first architecture on the first task", (), adds_cells=True, least=0,
        ascending=True,
    )  # fmt: skip
    ways: tuple[str, ...] = axis(
        "dip.fitting", "ways of fitting a DIP besides plain, on the varied architectures", (), adds_cells=True,
        kind=str, clears=("few_ways",),
    )  # fmt: skip
    widths: tuple[int, ...] = axis(
        "dip.width", "channels of a DIP besides the published ones, on the varied architectures", (), adds_cells=True
    )
    rates: tuple[float, ...] = axis(
        "dip.lr", "learning rates of a DIP; validation images choose one, a row beside that of the published rate", (),
        adds_cells=True, kind=float,
    )  # fmt: skip
    varied: tuple[str, ...] = axis(
        "dip.varied", "DIP architectures that widths and ways of fitting are varied on (default: the first)", (),
        adds_cells=True, kind=str,
    )  # fmt: skip
    rules: tuple[str, ...] = axis(
        "dip.stopping", "rules that stop a DIP; self_validation costs about as much as the fit itself",
        ("es-wmv", "es-emv", "oracle"), adds_cells=True,
    )  # fmt: skip
    judges: tuple[str, ...] = axis(
        "judge", "metrics that settings are chosen by, each for itself", ("psnr", "st_lpips")
    )
    t0s: tuple[int, ...] = axis("t0", "steps that a start may enter at", (2, 5, 25, 75, 200))
    strengths: tuple[float, ...] = axis("strength", "of the proximal data consistency, where y is noisy", (4.0, 16.0))
    trials: int = axis("trials", "settings that each arm tries at each budget, drawn from its grid", 8)
    grid_t0s: tuple[int, ...] = axis("grid.t0", "of the t0 by K grid", (2, 5, 25, 75, 200, 400), adds_cells=True)
    grid_budgets: tuple[int, ...] = axis("grid.nfe", "of the t0 by K grid", (1, 5, 20), adds_cells=True)
    few_architectures: tuple[str, ...] = axis("", default=(), adds_cells=True)
    few_ways: tuple[str, ...] | None = axis("", default=None, adds_cells=True)
    few_budgets: tuple[int, ...] = axis("", default=(), adds_cells=True)
    leaking_architectures: tuple[str, ...] = axis("", default=(), adds_cells=True)
    solvers: tuple[Solver, ...] = START_SOLVERS
    noise_solvers: tuple[Solver, ...] = NOISE_SOLVERS
    tune_each: bool = False
    ablate_each: bool = False

    def architectures_for(self, task: str) -> tuple[str, ...]:
        """DIP architectures that run on a task."""
        if task == self.tasks[0]:
            return self.architectures
        if self.leaking_architectures and tasks()[task].leak != "none":
            return self.leaking_architectures
        return self.few_architectures or self.architectures

    def budgets_for(self, task: str) -> tuple[int, ...]:
        """Network evaluations that every arm runs at on a task."""
        return self.budgets if task == self.tasks[0] else self.few_budgets or self.budgets

    def recipes_for(self, task: str) -> list[Recipe]:
        """The DIP recipes of a task: every architecture as published and at a tuned learning rate, and the varied
        architectures in other widths and other ways of fitting, one change at a time. Recipes whose way of fitting
        refuses the network or the task are included."""
        published = [Recipe(name) for name in self.architectures_for(task)]
        if tasks()[task].leak != "none":
            return published
        first = task == self.tasks[0] or self.few_ways is None
        made = list(published)
        for name in self.varied or self.architectures[:1]:
            made += [Recipe(f"{name.partition(':')[0]}:{width}") for width in self.widths]
            made += [Recipe(name, way) for way in (self.ways if first else self.few_ways or ())]
        made += [Recipe(name, rates=self.rates) for name in self.architectures_for(task) if self.rates]
        return list(dict.fromkeys(made))

    def durations(self, recipe: Recipe) -> tuple[int, ...]:
        """DIP training durations of a recipe that cost about as much as those of the first architecture."""
        return at_equal_cost(self.iterations, recipe, self.architectures[0])

    def iterations_for(self, task: str, recipe: Recipe) -> tuple[int, ...]:
        """DIP training durations of a recipe on a task."""
        first = task == self.tasks[0] and recipe == Recipe(self.architectures[0])
        return tuple(sorted({*self.durations(recipe), *(self.long_iterations if first else ())}))

    def decides(self) -> dict[str, object]:
        """Values that decide results although their axes otherwise only add cells: the architecture and the duration
        that the settings are tuned on."""
        return {"first architecture": self.architectures[0], "longest DIP": self.iterations[-1]}

    @property
    def longest(self) -> Arm:
        """The DIP start of the first architecture at the longest duration."""
        return Arm.named(HYPOTHESIS, self.architectures[0], self.iterations[-1])


@dataclass(frozen=True)
class Arm:
    """A prior and how it enters; for a prior that comes from a DIP, also which DIP.

    Attributes:
        prior: where mu comes from.
        recipe: how the DIP is made; None for a prior without one.
        iterations: DIP training duration, or the largest number of iterations that a stopping rule may take.
        stopping: the rule that picks the iterate; None for a fixed duration.
        output: "last" or "ema" (a fixed duration only).
        entry: how the prior enters; None for the prior's own injection.
    """

    prior: Prior
    recipe: Recipe | None = None
    iterations: int = 0
    stopping: type[StoppingRule] | None = None
    output: Literal["last", "ema"] = "last"
    entry: Injection | None = None

    @classmethod
    def named(
        cls,
        prior_name: str,
        recipe: Recipe | str = "",
        iterations: int = 0,
        stopping: str = "",
        output: Literal["last", "ema"] = "last",
        entry: str = "",
    ) -> Arm:
        """The arm with these names: ``Arm.named("dip", "skip", 150)``. The name of an architecture means its plain fit.

        Raises:
            InputError: there is no prior, stopping rule or injection of that name.
        """
        rule = stopping_rule_class(stopping) if stopping else None
        enters = injection(entry) if entry else None
        return cls(prior(prior_name), as_recipe(recipe) if recipe else None, iterations, rule, output, enters)

    @property
    def label(self) -> str:
        """How tables name it: ``dip skip 100``, ``dip skip es-wmv``, ``dip skip 100 raw``."""
        output = "" if self.output == "last" else self.output
        entry = self.entry.name if self.entry else ""
        duration = self.stopping.name if self.stopping else self.iterations
        return " ".join(str(p) for p in (self.prior.name, self.family, duration, output, entry) if p)

    @property
    def architecture(self) -> str:
        """Name of the DIP architecture; "" for a prior without one."""
        return self.recipe.architecture if self.recipe else ""

    @property
    def family(self) -> str:
        """Arms of one family share their DIP fit."""
        return self.recipe.label if self.recipe else ""

    @property
    def rule(self) -> str:
        """Name of the stopping rule, ``fixed`` for a fixed duration."""
        return self.stopping.name if self.stopping else "fixed"

    @property
    def injection(self) -> Injection:
        """How it enters."""
        return self.entry or self.prior.injection

    @property
    def leak(self) -> str:
        """What the arm saw that it must not see; "none" for an honest arm."""
        return self.stopping.leak if self.stopping and self.stopping.leak != "none" else self.prior.leak

    @property
    def role(self) -> ArmRole:
        """Its part in the comparison. A DIP that does not enter by its own injection is an ablation; a DIP that leaks
        is a bound."""
        if self.leak != "none":
            return "bound"
        return "ablation" if self.entry else self.prior.role

    @property
    def is_start(self) -> bool:
        """It is a control that starts the diffusion somewhere: every control but the start from noise."""
        return self.role == "control" and self.injection.uses_mu


def arms(axes: RestorationAxes, task: str) -> list[Arm]:
    """Every arm that is asked for on a task: each registered prior, over the architectures and durations.

    A task that leaks the photograph enters no comparison. It has only the arms that people publish on it: the start
    from noise and the DIP starts.
    """
    recipes = axes.recipes_for(task)
    if tasks()[task].leak != "none":
        starts = [Arm.named(HYPOTHESIS, r, i) for r in recipes for i in axes.iterations_for(task, r)]
        return [Arm.named(COMPARATOR), *starts]
    ablated = [r for r in recipes if is_ablated(r, axes, task)]
    listed: list[Arm] = []
    for kind in priors().values():
        made = kind()
        if not made.uses_dip:
            listed.append(Arm(made))
        elif made.iterations is not None:
            listed += [Arm(made, r, made.iterations) for r in ablated]
        elif made.role == "treatment":
            listed += [Arm(made, r, i) for r in recipes for i in axes.iterations_for(task, r)]
            for r in ablated:
                longest, last = axes.durations(r)[-1], axes.iterations_for(task, r)[-1]
                listed += [Arm(made, r, last, stopping=stopping_rule_class(rule)) for rule in axes.rules]
                listed.append(Arm(made, r, longest, output="ema"))
                listed += [Arm(made, r, longest, entry=other()) for other in injections().values() if other.ablation]
        else:  # only at the longest duration, which costs the most and so has the most to lose
            listed += [Arm(made, r, axes.durations(r)[-1]) for r in ablated]
    order = ("control", "treatment", "ablation", "bound")
    return sorted(listed, key=lambda arm: order.index(arm.role))


def is_ablated(recipe: Recipe, axes: RestorationAxes, task: str) -> bool:
    """Whether stopping rules and ablations run on a recipe: only on published fits, and only on that of the first
    architecture unless the profile ablates each."""
    return recipe.is_published and (axes.ablate_each or recipe.architecture == axes.architectures_for(task)[0])


def budgets(arm: Arm, axes: RestorationAxes, task: str) -> list[int]:
    """Budgets (network evaluations) that an arm runs at. 0 is the prior alone, without diffusion."""
    if not arm.injection.uses_mu:
        return [*axes.budgets_for(task), *(axes.noise_budgets if tasks()[task].leak == "none" else ())]
    if arm.role in ("treatment", "control") or arm.stopping:
        return [0, *axes.budgets_for(task)]
    return list(axes.budgets_for(task))


def tuned_as(arm: Arm, axes: RestorationAxes, task: str, budget: int) -> Arm:
    """The arm whose validation runs choose the setting of this one at a budget: the arm itself, with two exceptions.

    Variations of a fitted DIP (the DIP of another image, another stopping rule or output) and the oracle run with the
    setting of the plain DIP of the longest duration, since they ask what the very same procedure does with another mu.
    Unless the profile tunes each architecture, every recipe runs with the setting of the task's first architecture
    after a fit of about the same cost. A prior alone (budget 0) has no setting, so that the arm itself is returned.
    """
    if not budget:
        return arm
    first = Recipe(axes.architectures_for(task)[0])
    if arm.prior.tuned_as_treatment or arm.stopping or arm.output != "last":
        recipe = arm.recipe or first
        arm = replace(Arm.named(HYPOTHESIS, recipe, axes.durations(recipe)[-1]), entry=arm.entry)
    if arm.recipe and arm.recipe != first and not axes.tune_each:
        as_dear = dict(zip(axes.durations(arm.recipe), axes.durations(first), strict=True))
        arm = replace(arm, recipe=first, iterations=as_dear.get(arm.iterations, arm.iterations))
    return arm


def controls(listed: Sequence[Arm]) -> list[Arm]:
    """The controls among some arms that start the diffusion somewhere, each once."""
    return list(dict.fromkeys(arm for arm in listed if arm.is_start))


def edges(arm: Arm, setting: Setting, axes: RestorationAxes) -> tuple[str, ...]:
    """Which values of an arm and its setting are the smallest or largest that were offered, in words: nothing was tried
    beyond them."""
    found = []
    if setting.nfe and not arm.injection.starts_at_T and len(axes.t0s) > 1 and arm.injection == Start():
        if setting.t0 == min(axes.t0s):
            found.append(f"t0 {setting.t0}, the smallest offered")
        if setting.t0 == max(axes.t0s):
            found.append(f"t0 {setting.t0}, the largest offered")
    most = max([*axes.budgets, *axes.noise_budgets, *axes.offers])
    if setting.nfe >= most:
        found.append(f"{setting.nfe} evaluations, the most offered")
    longest = max(axes.iterations_for(axes.tasks[0], arm.recipe)) if arm.recipe else 0
    if arm.recipe and not arm.stopping and arm.iterations == longest:
        found.append(f"{arm.iterations} iterations, the longest fit")
    return tuple(found)
