"""The pace of training: seconds an update of every arm, all measured in turns.

The arms of a comparison are trained one after the other, for hours. Were each charged the wall-clock of its own
updates, one that was trained while the machine was busy would look slower than its rivals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

from dipddpm.experiments import turns
from dipddpm.experiments.fits import recipe
from dipddpm.experiments.training_runs import Learner, TrainingRuns
from dipddpm.experiments.turns import ROUNDS, in_turns
from dipddpm.injection import injection
from dipddpm.training import Training, initial_network
from dipddpm.unet import UNet


class PacedRuns(TrainingRuns):
    """Training runs that know how long an update of each arm takes."""

    def pace(self, task: str) -> Mapping[str, float]:
        """Seconds an update, by name of the arm: the median of its turns, each a few updates on the real images and
        priors at the profile's batch and network."""
        each = min(10, max(1, self.checkpoints[-1] // 100))  # a turn: a hundredth of a run, but ten updates will do
        arms, of_all = self.learners(task), self._recipe(each * (1 + ROUNDS))
        made = {arm.name: self.prior_set(task, arm, "train") for arm in arms}

        def turn(arm: Learner) -> Callable[[], None]:
            way, priors = injection(arm.way), made[arm.name]
            model = initial_network(self.config, self.experiment.seed, way.channels)
            training = Training(model, self.schedule, of_all, way, self.device)

            def updates() -> None:
                for _ in range(each):
                    training.update(self.images("train"), priors.mu if priors else None)

            return updates

        def compute() -> tuple[dict, dict]:
            taken = in_turns({arm.name: turn(arm) for arm in arms}, self.experiment.clock)
            return {"seconds": {name: seconds / each for name, seconds in taken.items()}}, {}

        config = {
            "images": self._trained_on(), "recipe": asdict(of_all), "unet": self.config, "T": self.schedule.T,
            "arms": {name: priors.record() if priors else None for name, priors in made.items()},
            "updates a turn": each, "code": recipe(PacedRuns),
        }  # fmt: skip
        sources = [turns, Training, UNet, *(type(injection(arm.way)) for arm in arms)]
        return self.memo("pace", config, sources, compute).info["seconds"]
