"""The restoration experiment: which tunings and cells there are, and how one follows from another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from dipddpm.batches import in_batches
from dipddpm.data import Split
from dipddpm.denoisers import Denoiser
from dipddpm.errors import InputError
from dipddpm.experiments.arms import Arm, arms, budgets, tuned_as
from dipddpm.experiments.cells import run_arm
from dipddpm.experiments.fits import Fits
from dipddpm.experiments.tuning import Hold, Tuned, candidates, draw_trials, tune
from dipddpm.memo import Execute, direct
from dipddpm.metrics import metrics
from dipddpm.restore import Setting, stage


@dataclass(frozen=True)
class Cell:
    """One arm at one budget: quality and cost of the same execution.

    Attributes:
        scores: {metric: one value per image}.
        x_hat: (N, 3, H, W) in [-1, 1].
        seconds: wall-clock per image by stage ("dip", "diffusion"); memory: peak bytes added by stage.
        iterations: DIP iterations per image that were paid for; nfe: network evaluations per image that happened.
        setting: how the diffusion was run; validation: its mean PSNR on the validation images, None for what leaks.
        chosen: of all budgets that the arm runs at, this one was best on the validation images.
    """

    scores: Mapping[str, list[float]]
    x_hat: Tensor
    seconds: Mapping[str, float]
    memory: Mapping[str, int]
    iterations: float
    nfe: int
    setting: Setting
    validation: float | None
    chosen: bool


class Restoration:
    """The restoration experiment of one data set and seed with one denoiser.

    Args:
        fits: the photographs, observations and DIP fits; they know nothing of the denoiser.
    """

    def __init__(self, fits: Fits, denoiser: Denoiser):
        self.fits, self.denoiser, self.axes = fits, denoiser, fits.axes
        self.cells, self.settings, self.alike = cache(self._cells), cache(self._settings), cache(self._alike)
        self._tuned_together = cache(self._tune_together)
        self._warm_up = cache(self._evaluate_once)

    # Arms and their settings

    def _cells(self, task: str) -> tuple[tuple[Arm, int], ...]:
        """Every arm that makes sense for a task, at every budget that it runs at."""
        observation = self.fits.observation(task, "test")
        able = [arm for arm in arms(self.axes, task) if arm.prior.applies(observation)]
        return tuple((arm, budget) for arm in able for budget in self.budgets(arm, task))

    def budgets(self, arm: Arm, task: str) -> list[int]:
        """The budgets that an arm runs at: of those listed, the ones that fit below a step it can enter at."""
        listed = budgets(arm, self.axes, task)
        return [at for at in listed if self.settings(tuned_as(arm, self.axes, task, at), task, at)]

    def _settings(self, arm: Arm, task: str, budget: int) -> list[Setting]:
        """The settings that an arm tries at a budget; the number is the same for every arm."""
        axes, entry, observation = self.axes, arm.injection, self.fits.observation(task, "validation")
        holds: list[Hold] = [(1.0, True)]
        if observation.consistency == "proximal":
            # A start carries what it knows of y in its state, so that it may do without y from there on.
            holds = [(strength, True) for strength in axes.strengths] + [(1.0, False)] * entry.uses_mu
        t0s = entry.t0s(self.denoiser.schedule, observation.sigma, axes.t0s)
        grid = candidates(budget, entry, t0s, axes.solvers if entry.uses_mu else axes.noise_solvers, holds)
        return draw_trials(grid, axes.trials, task, budget)

    def tuned(self, arm: Arm, task: str, budget: int) -> Tuned:
        """The setting that an arm runs with at a budget, chosen on validation images."""
        arm = tuned_as(arm, self.axes, task, budget)
        return self._tuned_together(self.alike(arm, task, budget), task, budget)[arm]

    def _alike(self, arm: Arm, task: str, budget: int) -> tuple[Arm, ...]:
        """The arms that are tuned in one batch with this one: they have its DIP, or none like it, and the same settings
        to try."""
        beside = [tuned_as(other, self.axes, task, budget) for other, at in self.cells(task) if at == budget]
        settings = self.settings(arm, task, budget)
        alike = [
            other
            for other in beside
            if other.architecture == arm.architecture
            and other.leak == "none"
            and self.settings(other, task, budget) == settings
        ]
        return tuple(dict.fromkeys([*alike, arm]))

    def _tune_together(self, alike: Sequence[Arm], task: str, budget: int) -> Mapping[Arm, Tuned]:
        settings = self.settings(alike[0], task, budget)
        found = self.fits.memo(
            tune,
            {
                "denoiser": self.denoiser,
                "priors": [arm.prior for arm in alike],
                "evidence": [self.fits.evidence(arm, task, "validation") for arm in alike],
                "x_0": self.fits.images("validation").x_0,
                "settings": settings,
                "seeds": self.fits.rng("validation", task, "sample").seeds,
            },
        ).value
        chosen = zip(found["best"], found["validation"], strict=True)
        return {arm: Tuned(settings[best], psnr) for arm, (best, psnr) in zip(alike, chosen, strict=True)}

    def best_budget(self, arm: Arm, task: str, largest: int | None = None) -> int:
        """The budget, of those the arm runs at (up to ``largest``), at which it did best on the validation images."""
        tried = [budget for budget in self.budgets(arm, task) if 0 < budget <= (largest or budget)]
        if not tried:
            raise InputError(
                f"{arm.label} runs at no budget of {self.axes.budgets} on {task}: each needs a step to enter at, of "
                f"{self.axes.t0s}, that is as large"
            )
        return max(tried, key=lambda budget: self.tuned(arm, task, budget).validation)

    # Cells

    def cell(self, task: str, arm: Arm, budget: int, run: Execute = direct, largest: int | None = None) -> Cell:
        """Run one arm at one budget on the test images, with the setting tuned for it, and score it.

        Args:
            largest: of the budgets that compete for being ``chosen``, None for all.
        """
        setting, validation = Setting(0), None
        if budget or arm.leak == "none":  # a DIP alone has nothing to tune, but is a rival that is chosen by its score
            tuned = self.tuned(arm, task, budget)
            setting, validation = tuned.setting, tuned.validation
        chosen = budget == 0 or budget == self.best_budget(arm, task, largest)
        return self.cell_with(task, arm, setting, run, validation, chosen)

    def cell_with(
        self,
        task: str,
        arm: Arm,
        setting: Setting,
        run: Execute = direct,
        validation: float | None = None,
        chosen: bool = False,
    ) -> Cell:
        """Run one arm on the test images with a setting of the caller's."""
        x_0, fits = self.fits.images("test").x_0, self.fits

        def warm(work: Callable[[], None]) -> object:
            self._warm_up("test")
            return run(work)

        found = fits.memo(
            run_arm,
            {
                "denoiser": self.denoiser, "prior": arm.prior, "evidence": fits.evidence(arm, task), "x_0": x_0,
                "setting": setting, "seeds": fits.rng("test", task, "sample").seeds,
                "metrics": [metric() for metric in metrics().values()],
            },
            aside={"clock": fits.clock},
            run=warm,
        )  # fmt: skip
        value, n = found.value, len(x_0)
        seconds, memory, iterations = {"diffusion": value["seconds"] / n}, {"diffusion": found.memory}, 0.0
        if arm.prior.uses_dip:
            stored = fits.stored_fit(task, arm.architecture)
            iterations = stored.fit.charged(arm.iterations, arm.rule)
            seconds["dip"] = stored.fit.seconds_for(iterations) / n
            memory["dip"] = stored.memory
        return Cell(
            value["scores"], value["x_hat"], seconds, memory, iterations, value["nfe"], setting, validation, chosen
        )

    def _evaluate_once(self, split: Split) -> None:
        """One unmeasured evaluation at the shape of a batch, so that the first timed cell does not pay for start-up."""
        x_t = torch.zeros_like(self.fits.images(split).x_0)
        in_batches(stage(self.denoiser, x_t.device), len(x_t), lambda some: self.denoiser.eps(x_t[some], 0))
