"""Which paces the records of a session are charged by, and measuring them all in one series."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from dipddpm.batches import ChargedClock
from dipddpm.dip import width_for
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.generation import TASK, Population
from dipddpm.experiments.recipes import Recipe
from dipddpm.experiments.restoration import Cell
from dipddpm.experiments.stage_times import (
    AT_ONCE_CUDA,
    Estimates,
    Evaluations,
    Looks,
    Passes,
    StageWork,
    time_stages,
)
from dipddpm.measure.measured_paces import ROUNDS, Pace
from dipddpm.memo import Memo
from dipddpm.prior_sets import observe
from dipddpm.priors import Prior
from dipddpm.tasks import Observation

if TYPE_CHECKING:
    from dipddpm.session.experiments import Experiments


class StagePaces:
    """The kinds of work behind the records of one seed, as the records are made.

    Attributes:
        works: {(stage, key): the work that its pace is measured by}, the first of each kind that was met.
    """

    def __init__(self, experiments: Experiments):
        self.experiments = experiments
        self.works: dict[tuple[str, str], StageWork] = {}

    def of_cell(self, task: str, arm: Arm, cell: Cell) -> dict[str, str]:
        """{stage of a cell: what its seconds per unit are the pace of}; records that share it do the same work."""
        fits, keys = self.experiments.fits, dict[str, str]()
        observation = fits.observation(task, "test")
        recipe, rule = arm.recipe, arm.stopping
        if "dip" in cell.seconds and recipe:
            keys["dip"] = fit_key(recipe)
            self._note("dip", keys["dip"], lambda: Passes(
                recipe.network, observation, fits.rng("test", task, "dip").seeds, fits.dataset.size,
                fits.width(recipe.architecture), fits.method(recipe, task),
            ))  # fmt: skip
        if "stopping" in cell.seconds and rule and not rule.trains:
            keys["stopping"] = f"watching, {rule.name}"
            self._note("stopping", keys["stopping"], lambda: Looks(rule, arm.iterations, fits.images("test").x_0))
        if "prior" in cell.seconds:
            prior = cell.arm.prior
            keys["prior"] = f"{estimate_key(prior)}, {task}"
            self._note("prior", keys["prior"], lambda: Estimates(
                prior, fits.evidence(cell.arm, task, "test", self.experiments.denoiser)
            ))  # fmt: skip
        if "diffusion" in cell.seconds:
            keys["diffusion"] = "evaluation"
            self._note("diffusion", "evaluation", lambda: Evaluations(
                self.experiments.denoiser, observation, fits.rng("test", task, "sample").seeds
            ))  # fmt: skip
        return keys

    def of_population(self, arm: Arm, found: Population) -> dict[str, str]:
        """The same of a population, whose DIPs are fitted to photographs and whose sampling is held to nothing."""
        generation, recipe, keys = self.experiments.generation, arm.recipe, dict[str, str]()
        photographs, seeds = generation.images("train")[:AT_ONCE_CUDA], list(range(AT_ONCE_CUDA))

        def observed() -> Observation:
            return observe(photographs, TASK, generation.seed, generation.device)

        if "dip" in found.seconds and recipe:
            keys["dip"] = fit_key(recipe)
            width = width_for(recipe.architecture, generation.denoiser.size, generation.architecture)
            self._note("dip", keys["dip"], lambda: Passes(
                recipe.network, observed(), seeds, generation.denoiser.size, width, recipe.method()
            ))  # fmt: skip
        if found.nfe:
            keys["diffusion"] = "evaluation"
            self._note("diffusion", "evaluation", lambda: Evaluations(generation.denoiser, observed(), seeds))
        return keys

    def _note(self, stage: str, key: str, made: Callable[[], StageWork]) -> None:
        if (stage, key) not in self.works:
            self.works[stage, key] = made()


def fit_key(recipe: Recipe) -> str:
    """What all fits of a recipe share, on whichever task."""
    return f"DIP fit, {recipe.label}"


def estimate_key(prior: Prior) -> str:
    """A control with those of its parameters that decide how much it does: counts. Levels and weights do not."""
    counts = [f"{name} {value}" for name, value in vars(prior).items() if type(value) is int]
    return " ".join([prior.name, *counts])


def measured(works: Mapping[tuple[str, str], StageWork], memo: Memo, clock: Callable[[], float]) -> list[Pace]:
    """The paces of some kinds of work, found in the store or measured in turns. Paces of one series were measured under
    the same state of the machine, so a different set of works is measured as a new series."""
    if not works:
        return []
    names = {f"{stage}: {key}": (stage, key) for stage, key in sorted(works)}
    found = memo(
        time_stages,
        {"works": {name: works[at] for name, at in names.items()}, "rounds": ROUNDS},
        aside={"clock": ChargedClock(clock)},
    ).value
    return [
        Pace(*at, works[at].unit, found[name]["batch"], tuple(found[name]["samples"])) for name, at in names.items()
    ]
