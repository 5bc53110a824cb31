"""The restoration experiment: which tunings and cells there are, and how one follows from another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from torch import Tensor

from dipddpm.batches import in_batches
from dipddpm.data import Split
from dipddpm.denoisers import Denoiser
from dipddpm.errors import InputError
from dipddpm.experiments.arms import Arm, arms, budgets, edges, tuned_as
from dipddpm.experiments.cells import run_arm
from dipddpm.experiments.fits import Fits
from dipddpm.experiments.recipes import described
from dipddpm.experiments.tuning import Hold, Tuned, best, candidates, draw_trials, merit, more_of, tune
from dipddpm.memo import Execute, direct
from dipddpm.metrics import Metric, metric, metrics
from dipddpm.prior_sets import make_prior
from dipddpm.restore import Setting, stage


@dataclass(frozen=True)
class Mu:
    """Prior images (N, 3, H, W) in [-1, 1], None for the start from noise, and the seconds that making the batch took,
    without those of a DIP fit."""

    images: Tensor | None
    seconds: float = 0.0


@dataclass(frozen=True)
class Cell:
    """One arm in one setting: quality and cost of the same execution.

    Attributes:
        arm: with the parameters that its prior ran with.
        scores: {metric: one value per image}.
        x_hat: (N, 3, H, W) in [-1, 1].
        seconds: wall-clock per image by stage ("dip", "stopping", "prior", "diffusion").
        memory: peak bytes added by stage.
        iterations: DIP iterations per image that the cell is charged; passes: forward and backward passes of the DIP
            network that they took; nfe: network evaluations of the diffusion per image, as counted.
        setting: how the diffusion was run.
        judges: those by whose scores on the validation images prior and setting were chosen; () where the caller chose.
        validation: {judge: mean on the validation images}; empty for an arm that leaks.
        chosen: the judges by which, of all budgets that the arm runs at, this one was best on the validation images.
        edges: values of the setting that were the smallest or largest offered, in words.
        fitted: what was chosen for the DIP fit, in words; "" where nothing was.
        training_seconds: spent once to train what the prior or the fitting method learned.
        fit_evaluations: evaluations of the denoiser per image that the way of fitting took, beside its passes.
    """

    arm: Arm
    scores: Mapping[str, list[float]]
    x_hat: Tensor
    seconds: Mapping[str, float]
    memory: Mapping[str, int]
    iterations: float
    passes: float
    nfe: int
    setting: Setting
    judges: tuple[str, ...] = ()
    validation: Mapping[str, float] = field(default_factory=dict)
    chosen: tuple[str, ...] = ()
    edges: tuple[str, ...] = ()
    fitted: str = ""
    training_seconds: float = 0.0
    fit_evaluations: float = 0.0


class Restoration:
    """The restoration experiment of one data set and seed with one denoiser.

    Wherever a judge may be named and is not, the first judge of the axes is used.

    Args:
        fits: the photographs, observations and DIP fits; they know nothing of the denoiser.
        judges: metrics that settings are chosen by; those of the axes by default.
    """

    def __init__(self, fits: Fits, denoiser: Denoiser, judges: Sequence[str] = ()):
        self.fits, self.denoiser, self.axes = fits, denoiser, fits.axes
        self.judges = [metric(name) for name in judges or self.axes.judges]
        self.higher = {judge.name: judge.higher_is_better for judge in self.judges}
        self.able, self.cells, self.settings = cache(self._able), cache(self._cells), cache(self._settings)
        self.alike = cache(self._alike)
        self.mu, self.with_parameters = cache(self._mu), cache(self._with_parameters)
        self._scores = cache(self._score)
        self._warm_up = cache(self._evaluate_once)

    # Arms, their priors and their settings

    def _cells(self, task: str) -> tuple[tuple[Arm, int], ...]:
        """Every arm that makes sense for a task, at every budget that it runs at."""
        return tuple((arm, budget) for arm in self.able(task) for budget in self.budgets(arm, task))

    def _able(self, task: str) -> tuple[Arm, ...]:
        """Every arm that makes sense for a task."""
        observation = self.fits.observation(task, "test")
        return tuple(
            arm
            for arm in arms(self.axes, task)
            if arm.prior.applies(observation) and not (arm.recipe and self.fits.refuses(arm.recipe, task))
        )

    def budgets(self, arm: Arm, task: str) -> list[int]:
        """The budgets that an arm runs at: those listed ones for which some step that it can enter at leaves room for
        as many network evaluations."""
        listed = budgets(arm, self.axes, task)
        return [at for at in listed if self.settings(tuned_as(arm, self.axes, task, at), task, at)]

    def _settings(self, arm: Arm, task: str, budget: int) -> list[Setting]:
        """The settings that an arm tries at a budget; the number is the same for every arm."""
        axes, entry, observation = self.axes, arm.injection, self.fits.observation(task, "validation")
        holds: list[Hold] = [(1.0, True)]
        if observation.consistency == "proximal":
            # The state of a start already holds information on y, so that sampling may go on without holding it to y.
            holds = [(strength, True) for strength in axes.strengths] + [(1.0, False)] * entry.uses_mu
        t0s = entry.t0s(self.denoiser.schedule, observation.sigma, axes.t0s)
        solvers = axes.solvers if entry.uses_mu else axes.noise_solvers
        return draw_trials(candidates(budget, entry, t0s, solvers, holds, axes.samples), axes.trials, task, budget)

    def _mu(self, arm: Arm, task: str, split: Split) -> Mu:
        """The prior images of an arm; those of a control are made once, and timed."""
        evidence = self.fits.evidence(arm, task, split, self.denoiser)
        if arm.prior.uses_dip or arm.leak != "none" or not arm.injection.uses_mu:
            return Mu(arm.prior.mu(evidence))

        def warm(work: Callable[[], None]) -> None:
            """The first call imports modules; that time is not charged to the arm."""
            arm.prior.mu(replace(evidence, observation=evidence.observation.part(slice(1))))
            work()

        found = self.fits.memo(
            make_prior, {"prior": arm.prior, "evidence": evidence}, aside={"clock": self.fits.clock}, run=warm
        ).value
        return Mu(found["mu"], found["seconds"])

    def _with_parameters(self, arm: Arm, task: str) -> Mapping[str, Arm]:
        """{judge: the arm, its prior having the parameters with which it alone is best on the validation images}."""
        variants = arm.prior.variants()
        if len(variants) == 1:
            return dict.fromkeys(self.higher, arm)
        tried = [replace(arm, prior=variant) for variant in variants]
        scores = [self._scored(each, task, Setting(0)) for each in tried]
        return {judge: tried[best([of[judge][0] for of in scores], higher)] for judge, higher in self.higher.items()}

    def tuned(self, arm: Arm, task: str, budget: int, judge: str = "") -> Tuned:
        """The setting that an arm runs with at a budget, chosen on validation images.

        The score is that of this arm, also where the setting was tuned on another arm.
        """
        judge = judge or self.axes.judges[0]
        basis = tuned_as(arm, self.axes, task, budget)
        settings = self.settings(basis, task, budget)
        tried = self.with_parameters(basis, task)[judge]
        scores = self._scores(self.alike(basis, task, budget), task, tuple(settings))[tried]
        at = best(scores[judge], self.higher[judge])
        if basis != arm and arm.leak == "none":
            scores, own = self._scored(arm, task, settings[at]), 0
        else:
            own = at
        means = {name: values[own] for name, values in scores.items()}
        return Tuned(settings[at], means[judge], means)

    def _alike(self, arm: Arm, task: str, budget: int) -> tuple[Arm, ...]:
        """The arms that are tuned in one batch with this one: those with the same DIP recipe (or none, as this one),
        whose priors are learned if that of this one is, without a leak, and with the same settings to try. Each is
        listed once for every choice of prior parameters that some judge made.
        """
        beside = [tuned_as(other, self.axes, task, budget) for other, at in self.cells(task) if at == budget]
        settings = self.settings(arm, task, budget)
        alike = [
            other
            for other in beside
            if other.recipe == arm.recipe
            and other.prior.learned == arm.prior.learned
            and other.leak == "none"
            and self.settings(other, task, budget) == settings
        ]
        return tuple(dict.fromkeys(p for a in [*alike, arm] for p in self.with_parameters(a, task).values()))

    def _scored(self, arm: Arm, task: str, *settings: Setting) -> Mapping[str, list[float]]:
        """{judge: the mean on the validation images in each setting} of one arm."""
        return self._scores((arm,), task, settings)[arm]

    def _score(
        self, tried: tuple[Arm, ...], task: str, settings: tuple[Setting, ...]
    ) -> Mapping[Arm, Mapping[str, list[float]]]:
        """{arm: {judge: the mean on the validation images in each setting}} of arms that are run as one batch."""
        found = self.fits.memo(
            tune,
            {
                "denoiser": self.denoiser,
                "observation": self.fits.observation(task, "validation"),
                "mus": [self.mu(arm, task, "validation").images for arm in tried],
                "x_0": self.fits.images("validation").x_0,
                "settings": list(settings),
                "seeds": self.fits.rng("validation", task, "sample").seeds,
                "judges": self.judges,
            },
        ).value
        return {arm: {judge: found[judge][at] for judge in self.higher} for at, arm in enumerate(tried)}

    def best_budget(self, arm: Arm, task: str, largest: int | None = None, judge: str = "") -> int:
        """The budget, of those the arm runs at (up to ``largest``), at which it did best on the validation images."""
        judge = judge or self.axes.judges[0]
        tried = [budget for budget in self.budgets(arm, task) if 0 < budget <= (largest or budget)]
        if not tried:
            raise InputError(
                f"{arm.label} runs at no budget of {self.axes.budgets} on {task}: each needs a step to enter at, of "
                f"{self.axes.t0s}, that is as large"
            )
        scores = [self.tuned(arm, task, budget, judge).validation for budget in tried]
        return tried[best(scores, self.higher[judge])]

    def leaders(self, task: str, judge: str, role: str) -> list[Arm]:
        """The starts of a role, best first by a judge on the validation images. Each is scored at its best budget,
        which may be 0 (the prior alone)."""
        starts = [arm for arm in self.able(task) if arm.role == role and arm.injection.uses_mu and arm.leak == "none"]

        def score(arm: Arm) -> float:
            tuned = [self.tuned(arm, task, budget, judge) for budget in self.budgets(arm, task)]
            return max(merit(of.validation, self.higher[judge]) for of in tuned)

        return sorted((arm for arm in starts if self.budgets(arm, task) != [0]), key=score, reverse=True)

    # Cells

    def cell(
        self, task: str, arm: Arm, budget: int, run: Execute = direct, largest: int | None = None, judge: str = ""
    ) -> Cell:
        """Run one arm at one budget on the test images, with the setting that a judge chose for it, and score it.

        Args:
            largest: only budgets up to this one compete for being ``chosen``; None for all.
        """
        judge = judge or self.axes.judges[0]
        return self.cells_at(task, arm, budget, run, largest, judge)[0]

    def cells_at(
        self, task: str, arm: Arm, budget: int, run: Execute = direct, largest: int | None = None, judge: str = ""
    ) -> list[Cell]:
        """One arm at one budget as each judge chose it: one cell for each distinct choice of prior parameters and
        setting. Where a judge is named, only the cell that this judge chose."""
        choices: dict[tuple[Arm, Setting], dict[str, Tuned | None]] = {}
        for name in self.higher:
            # A DIP alone that leaks has nothing to tune, and no score to be chosen by.
            tuned = self.tuned(arm, task, budget, name) if budget or arm.leak == "none" else None
            setting = tuned.setting if tuned else Setting(0)
            choices.setdefault((self.with_parameters(arm, task)[name], setting), {})[name] = tuned
        cells = []
        for (ran, setting), by in choices.items():
            if judge and judge not in by:
                continue
            chosen = [each for each in by if not budget or budget == self.best_budget(arm, task, largest, each)]
            scores = next(iter(by.values()))
            validation = scores.scores if scores and arm.leak == "none" else {}
            cells.append(self.cell_with(task, ran, setting, run, tuple(by), validation, chosen))
        return cells

    def offered(self, task: str, role: str, place: int, total: int, run: Execute = direct) -> list[Cell]:
        """The start of a role that is at ``place`` (0: the best) on the validation images, with about ``total``
        evaluations, the price of a DIP fit. One cell for each distinct choice of the judges.

        The candidates are the settings tuned at the arm's best budget and at its largest budget, each extended to as
        many samples, or steps, as ``total`` pays for. The one that is best on the validation images is run.
        """
        choices: dict[tuple[Arm, Setting], dict[str, Mapping[str, float]]] = {}
        for judge, higher in self.higher.items():
            arm = self.leaders(task, judge, role)[place]
            ran = self.with_parameters(arm, task)[judge]
            budgets = {self.best_budget(arm, task, judge=judge), self.budgets(arm, task)[-1]}
            smaller = [self.tuned(arm, task, at, judge).setting for at in sorted(budgets)]
            trials = more_of(smaller, total, self.denoiser.schedule)
            scores = self._scored(ran, task, *trials)
            at = best(scores[judge], higher)
            means = {name: values[at] for name, values in scores.items()}
            choices.setdefault((ran, trials[at]), {})[judge] = means
        return [
            self.cell_with(task, ran, setting, run, tuple(by), next(iter(by.values())), tuple(by))
            for (ran, setting), by in choices.items()
        ]

    def cell_with(
        self,
        task: str,
        arm: Arm,
        setting: Setting,
        run: Execute = direct,
        judges: Sequence[str] = (),
        validation: Mapping[str, float] | None = None,
        chosen: Sequence[str] = (),
    ) -> Cell:
        """Run one arm on the test images with a setting of the caller's."""
        fits, mu = self.fits, self.mu(arm, task, "test")
        n = len(fits.images("test").x_0)

        def warm(work: Callable[[], None]) -> object:
            self._warm_up("test")
            return run(work)

        found = fits.memo(
            run_arm,
            {
                "denoiser": self.denoiser, "observation": fits.observation(task, "test"), "mu": mu.images,
                "x_0": fits.images("test").x_0, "setting": setting, "seeds": fits.rng("test", task, "sample").seeds,
                "metrics": self._metrics(judges, chosen),
            },
            aside={"clock": fits.clock},
            run=warm,
        )  # fmt: skip
        value, iterations, passes, evaluations, fitted = found.value, 0.0, 0.0, 0.0, ""
        training_seconds = arm.prior.training_seconds
        seconds = {"diffusion": value["seconds"] / n} if setting.nfe else {}
        memory = {"diffusion": found.memory} if setting.nfe else {}
        if arm.recipe:
            stored, method = fits.stored_fit(task, arm.recipe), fits.method(arm.recipe, task)
            iterations = stored.fit.charged(arm.iterations, arm.rule)
            passes, training_seconds = iterations * method.passes, training_seconds + method.training_seconds
            evaluations = iterations * method.evaluations_per_iteration
            fitted = described(arm.recipe, method)
            seconds["dip"] = stored.fit.seconds_for(iterations) / n
            if arm.stopping:
                seconds["stopping"] = stored.fit.watching_seconds_for(iterations, arm.rule) / n
            memory["dip"] = stored.memory
        elif arm.role == "control" and mu.images is not None:
            seconds["prior"] = mu.seconds / n
        return Cell(
            arm, value["scores"], value["x_hat"], seconds, memory, iterations, passes, value["nfe"], setting,
            tuple(judges), validation or {}, tuple(chosen), edges(arm, setting, self.axes) if judges else (), fitted,
            training_seconds, evaluations,
        )  # fmt: skip

    def _metrics(self, judges: Sequence[str], chosen: Sequence[str]) -> list[Metric]:
        """The metrics that a cell is scored by. Perceptual metrics take as long as ten evaluations or more: they score
        only cells that a table shows, or that a perceptual judge may compare with a treatment."""
        perceived = bool(chosen) or any(judge.perceptual for judge in self.judges if judge.name in judges)
        primary = self.judges[0].name
        return [kind() for kind in metrics().values() if perceived or not kind.perceptual or kind.name == primary]

    def _evaluate_once(self, split: Split) -> None:
        """One unmeasured evaluation at the shape of a batch, so that the first timed cell does not pay for start-up."""
        x_t = torch.zeros_like(self.fits.images(split).x_0)
        in_batches(stage(self.denoiser, x_t.device), len(x_t), lambda some: self.denoiser.eps(x_t[some], 0))
