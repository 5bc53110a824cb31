"""Earlier claims tested: published protocols that have a flaw, each beside the same comparison without the flaw.

A protocol with a flaw reports a gain of the DIP start. The same images, seeds and settings without the flaw give
another gain, and the difference is what the flaw alone contributes. Nothing here enters a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import torch

from dipddpm.experiments.arms import Arm
from dipddpm.experiments.cells import run_arm
from dipddpm.experiments.restoration import Cell, Restoration
from dipddpm.experiments.tuning import best
from dipddpm.injection.none import NoInjection
from dipddpm.injection.raw import Raw
from dipddpm.metrics.psnr import Psnr
from dipddpm.priors import COMPARATOR
from dipddpm.restore import Setting
from dipddpm.tasks.reconstruction import Reconstruction

MANY = 5  # independent samples whose mean is held against a single one


@dataclass(frozen=True)
class Claim:
    """The gain that a protocol reports, and the gain that is left without its flaw.

    Attributes:
        flaw: what the protocol does; instead: what is done in its place. Both in words.
        published, fair: the gain with the flaw and without it; one value per image, or a single value for a ratio over
            all images.
        unit: "dB" for a gain in PSNR, "x" for how many times fewer seconds or evaluations.
    """

    flaw: str
    instead: str
    published: Sequence[float]
    fair: Sequence[float]
    unit: str = "dB"


@dataclass
class EarlierClaims:
    """The flawed protocols on one restoration experiment.

    The DIP start is that of the first architecture at the longest duration, at the number of evaluations that has the
    highest PSNR on the validation images.
    """

    restoration: Restoration
    noise: Arm = field(default_factory=lambda: Arm.named(COMPARATOR))

    def __post_init__(self) -> None:
        self.dip = self.restoration.axes.longest
        self.start = cache(self._start)
        self.protocols: Mapping[str, Callable[[str], Claim]] = {
            "sees the photograph": self._clean_target,
            "seconds of the DIP left out": self._free_dip,
            "no control": self._no_control,
            "rival not tuned": self._not_tuned,
            "rival runs for longer": self._longer,
            "mean against one sample": self._mean_against_one,
            "best on the test images": self._best_on_test,
            "stopped by the photograph": self._stopped_by_the_photograph,
        }

    def claims(self, task: str) -> list[str]:
        """Names of the protocols that can be tried on a task."""
        able, missing = self.restoration.able(task), set[str]()
        if not any(arm.is_start for arm in able):
            missing.add("no control")
        if self._raw not in able:
            missing.add("rival runs for longer")
        if not {"oracle", "es-wmv"} <= set(self.restoration.axes.rules):
            missing.add("stopped by the photograph")
        return [name for name in self.protocols if name not in missing]

    def claim(self, task: str, name: str) -> Claim:
        """What a protocol reports on the test images of a task, and what is left without its flaw."""
        return self.protocols[name](task)

    # Cells, which the restoration suites also run (a store then has them already), and their gains

    @property
    def _raw(self) -> Arm:
        return replace(self.dip, entry=Raw())

    def _start(self, task: str) -> tuple[Cell, int]:
        """The DIP start, and its evaluations."""
        nfe = self.restoration.best_budget(self.dip, task, max(self.restoration.axes.budgets), "psnr")
        return self.restoration.cell(task, self.dip, nfe, judge="psnr"), nfe

    def _from_noise(self, task: str) -> Cell:
        """The start from noise, tuned, with as many evaluations as the DIP start has."""
        return self.restoration.cell(task, self.noise, self.start(task)[1], judge="psnr")

    def _gain(self, cell: Cell, rival: Cell) -> list[float]:
        return (np.array(cell.scores["psnr"]) - np.array(rival.scores["psnr"])).tolist()

    # The protocols

    def _clean_target(self, task: str) -> Claim:
        start, _ = self.start(task)
        fits, noise = self.restoration.fits, self._from_noise(task)
        fitted = fits.fit(Reconstruction.name, self.dip.recipe or "").mu(self.dip.iterations)
        observation = fits.observation(task, "test")
        found = fits.memo(
            run_arm,
            {
                "denoiser": self.restoration.denoiser, "observation": observation,
                "mu": observation.consistent(fitted), "x_0": fits.images("test").x_0, "setting": start.setting,
                "seeds": fits.rng("test", task, "sample").seeds, "metrics": [Psnr()],
            },
            aside={"clock": fits.clock},
        ).value  # fmt: skip
        leaky = np.array(found["scores"]["psnr"]) - np.array(noise.scores["psnr"])
        return Claim(
            "the DIP is fitted to the photograph that the result is scored on", "it is fitted to the observation",
            leaky.tolist(), self._gain(start, noise),
        )  # fmt: skip

    def _free_dip(self, task: str) -> Claim:
        start, _ = self.start(task)
        restoration = self.restoration
        noise = restoration.cell(
            task, self.noise, restoration.best_budget(self.noise, task, judge="psnr"), judge="psnr"
        )
        rival, own = sum(noise.seconds.values()), sum(start.seconds.values())
        return Claim(
            "only the seconds of the diffusion are counted", "those of the DIP count too",
            [rival / start.seconds["diffusion"]], [rival / own], unit="x",
        )  # fmt: skip

    def _no_control(self, task: str) -> Claim:
        start, nfe = self.start(task)
        control = self.restoration.leaders(task, "psnr", "control")[0]
        rival = self.restoration.cell(
            task, control, self.restoration.best_budget(control, task, nfe, "psnr"), judge="psnr"
        )
        return Claim(
            "the only rival starts from noise", f"the best control by validation is one too ({rival.arm.label})",
            self._gain(start, self._from_noise(task)), self._gain(start, rival),
        )  # fmt: skip

    def _not_tuned(self, task: str) -> Claim:
        start, nfe = self.start(task)
        untuned = self.restoration.cell_with(task, self.noise, Setting(nfe, NoInjection()))
        return Claim(
            "the start from noise runs as it comes (DDIM, eta 0)", "its sampler is tuned as that of the DIP start is",
            self._gain(start, untuned), self._gain(start, self._from_noise(task)),
        )  # fmt: skip

    def _longer(self, task: str) -> Claim:
        """The claim of a speed-up: a start put at T unscaled, in a fraction of the evaluations of the rival."""
        restoration = self.restoration
        few = restoration.best_budget(self._raw, task, max(restoration.axes.budgets), "psnr")
        reached = np.mean(restoration.cell(task, self._raw, few, judge="psnr").scores["psnr"])
        budgets = restoration.budgets(self.noise, task)
        means = [np.mean(restoration.cell(task, self.noise, at, judge="psnr").scores["psnr"]) for at in budgets]
        as_good = [at for at, mean in zip(budgets, means, strict=True) if mean >= reached]
        return Claim(
            f"a start put at T unscaled runs {few} evaluations, the one from noise {budgets[-1]}",
            "the one from noise runs as few as make it as good" if as_good else "no number makes noise as good",
            [budgets[-1] / few], [(as_good[0] if as_good else budgets[-1]) / few], unit="x",
        )  # fmt: skip

    def _mean_against_one(self, task: str) -> Claim:
        start, _ = self.start(task)
        noise = self._from_noise(task)

        def mean_of_many(cell: Cell) -> Cell:
            setting = cell.setting
            more = replace(setting, nfe=setting.nfe * MANY, samples=setting.samples * MANY)
            return self.restoration.cell_with(task, cell.arm, more)

        many = mean_of_many(start)
        one = self.restoration.cell_with(task, self.noise, replace(noise.setting, samples=1))
        return Claim(
            f"the mean of {many.setting.samples} samples is held against one", "the rival has the mean of as many",
            self._gain(many, one), self._gain(many, mean_of_many(noise)),
        )  # fmt: skip

    def _best_on_test(self, task: str) -> Claim:
        restoration = self.restoration
        starts = [arm for arm in restoration.able(task) if arm.role == "treatment"]
        cells = [
            restoration.cell(task, arm, at, judge="psnr")
            for arm in starts
            for at in restoration.budgets(arm, task)
            if 0 < at <= max(restoration.axes.budgets)
        ]
        on_test = cells[best([float(np.mean(cell.scores["psnr"])) for cell in cells], True)]
        chosen = cells[best([cell.validation["psnr"] for cell in cells], True)]
        noise = self._from_noise(task)
        return Claim(
            f"of {len(cells)} DIP starts the best on the test images is reported", "validation images choose it",
            self._gain(on_test, noise), self._gain(chosen, noise),
        )  # fmt: skip

    def _stopped_by_the_photograph(self, task: str) -> Claim:
        def alone(arm: Arm) -> torch.Tensor:
            fits = self.restoration.fits
            mu = arm.prior.mu(fits.evidence(arm, task))
            assert mu is not None
            return Psnr()(mu, fits.images("test").x_0)

        assert self.dip.recipe is not None
        recipe = self.dip.recipe
        longest = self.restoration.axes.iterations_for(task, recipe)[-1]
        to_the_end = alone(Arm.named("dip", recipe, longest))
        seen, unseen = (alone(Arm.named("dip", recipe, longest, rule)) for rule in ("oracle", "es-wmv"))
        return Claim(
            "the DIP alone stops where it is nearest to the photograph", "it stops by a rule that sees no photograph",
            (seen - to_the_end).tolist(), (unseen - to_the_end).tolist(),
        )  # fmt: skip
