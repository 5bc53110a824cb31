"""Does a network learn sooner with the prior? The arms of a training comparison after some updates.

Losses are never compared, since what the network of an arm is asked differs. Compared are restorations at the same
number of network evaluations, the x_0 that the networks predict at the same signal-to-noise ratio, and restorations as
a population: PSNR rewards the mean of all images that y allows, and a network in training gives blurred ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from dipddpm.experiments.arms import Arm, arms
from dipddpm.experiments.restoration import Cell, Restoration
from dipddpm.experiments.training_arms import PLAIN, TrainingArm
from dipddpm.experiments.training_checks import check_network, judge_restorations
from dipddpm.experiments.training_runs import TrainingRuns
from dipddpm.experiments.tuning import candidates, draw_trials
from dipddpm.experiments.update_times import UpdateTimes
from dipddpm.extractors import NamedExtractor
from dipddpm.memo import Execute, direct
from dipddpm.metrics import metrics
from dipddpm.population import population_metrics
from dipddpm.prior_sets import observe
from dipddpm.restore import Setting
from dipddpm.rng import ImageRng, image_keys

JUDGED_BY = ("kid", "fd")


@dataclass(frozen=True)
class TrainedQuality:
    """An arm after some updates.

    Attributes:
        scores: {metric: one value per test image} of the restoration at a fixed number of network evaluations.
        x_0: {t: PSNR in dB, one value per test image} of the x_0 that the network predicts at step t.
        seconds: of the training run so far by stage: "prior", of all training images; "training", its updates at the
            measured time of an update.
        memory: peak bytes added, by stage.
        images_per_second: of the updates, at that time.
        test_seconds: per image, of making its prior and of restoring it.
        setting: how it restores, chosen on the validation images at ``validation`` dB.
    """

    scores: Mapping[str, list[float]]
    x_0: Mapping[int, list[float]]
    seconds: Mapping[str, float]
    memory: Mapping[str, int]
    images_per_second: float
    test_seconds: Mapping[str, float]
    setting: Setting
    validation: float


class TrainingQuality:
    """What the networks of some training runs can do.

    Args:
        population_reference: photographs that restorations are held against as a population, at most.
    """

    def __init__(self, runs: TrainingRuns, population_reference: int, extractor: NamedExtractor | None = None):
        self.runs, self.times, self.population_reference = runs, UpdateTimes(runs), population_reference
        self.extractor = extractor or NamedExtractor(device=runs.device)
        self.reference = cache(self._reference)

    def quality(self, task: str, arm: TrainingArm, updates: int) -> TrainedQuality:
        """Quality and cost of an arm after ``updates``."""
        runs, fits, axes = self.runs, self.runs.fits, self.runs.axes
        grid = candidates(axes.nfe, arm.injection, [runs.schedule.T - 1], axes.solvers)
        settings = draw_trials(grid, runs.restoration.axes.trials, "training", task)
        splits = {
            split: {
                "observation": fits.observation(task, split),
                "x_0": fits.images(split).x_0,
                "mu": runs.mu(task, arm, split),
                "seeds": fits.rng(split, task, "sample").seeds,
            }
            for split in ("validation", "test")
        }
        value = runs.memo(
            check_network,
            {
                "denoiser": runs.denoiser(task, arm, updates), "settings": settings,
                "validation": splits["validation"], "test": splits["test"], "keys": fits.images("test").keys,
                "metrics": [metric() for metric in metrics().values()],
            },
            aside={"clock": fits.clock},
        ).value  # fmt: skip
        made, test = runs.prior_set(task, arm, "train"), runs.prior_set(task, arm, "test")
        state, update, n = (
            runs.trained(task, arm, updates),
            self.times.seconds(task)[arm.name],
            len(runs.images("test")),
        )
        return TrainedQuality(
            scores=value["scores"],
            x_0={int(t): values for t, values in value["x_0"].items()},
            seconds={"prior": state.initial_seconds + (made.seconds if made else 0.0), "training": updates * update},
            memory={"training": state.memory} | ({"prior": made.memory} if made else {}),
            images_per_second=axes.batch / update,
            test_seconds={"dip": test.seconds / n if test else 0.0, "diffusion": value["seconds"] / n},
            setting=settings[value["best"]],
            validation=value["validation"],
        )

    def population_scores(self, task: str, arm: TrainingArm, updates: int) -> Mapping[str, list]:
        """{title: [value, interval or None, whether higher is better]} of an arm after ``updates``: other test
        photographs, restored by its averaged weights in the setting tuned for it, as a population."""
        runs, seed = self.runs, self.runs.fits.seeds["test"]
        images, (reference, split) = runs.images("population"), self.reference()
        return runs.memo(
            judge_restorations,
            {
                "denoiser": runs.denoiser(task, arm, updates),
                "observation": observe(images, task, seed, runs.device),
                "mu": runs.mu(task, arm, "population"),
                "seeds": ImageRng.for_images(image_keys(images), seed, task, "sample").seeds,
                "setting": self.quality(task, arm, updates).setting,
                "batch": runs.axes.prior_batch,
                "reference": reference,
                "split": split,
                "extractor": self.extractor,
                "metrics": {name: kind for name, kind in population_metrics().items() if name in JUDGED_BY},
            },
        ).value["scores"]

    def _reference(self) -> tuple[Tensor, str]:
        """(M, 3, H, W) uint8 that restorations are held against, and what titles call it.

        Photographs of the training split that no network here is trained on; where fewer are left than restorations,
        those that the networks are trained on.
        """
        runs, dataset = self.runs, self.runs.fits.dataset
        every = dataset.sample("train", len(dataset.images("train")))
        unseen = every[len(runs.images("train")) :][-self.population_reference :]
        if len(unseen) >= len(runs.images("population")):
            return unseen, "train"
        return runs.images("train"), "trained-on"

    def started(self, task: str, start: str, updates: int, run: Execute = direct) -> tuple[Arm, Cell]:
        """Restore with the plain network as it is after ``updates``, entered from another start.

        Args:
            start: name of a prior (a DIP is that of the first architecture, longest duration), or ``control``: of the
                starts that cost nothing, the one that does best on the validation images.

        Returns:
            the arm that ran, at the training axes' evaluations in the setting tuned for it, and its cell.
        """
        restoration, budget = self.runs.restoration, self.runs.axes.nfe
        then = Restoration(restoration.fits, self.runs.denoiser(task, PLAIN, updates))
        if start == "control":
            observation = then.fits.observation(task, "test")
            able = [arm for arm in arms(then.axes, task) if arm.is_start and arm.prior.applies(observation)]
            arm = max(able, key=lambda arm: then.tuned(arm, task, budget).validation)
        else:
            arm = Arm.named(start)
            arm = then.axes.longest if arm.prior.uses_dip else arm
        tuned = then.tuned(arm, task, budget)
        return arm, then.cell_with(task, arm, tuned.setting, run, tuned.validation, True)
