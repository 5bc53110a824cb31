"""The time of an update of each training arm, all measured in turns.

The arms of a comparison are trained one after the other, for hours. If each arm were charged the wall-clock time of its
own updates, an arm that was trained while the machine was busy would look slower than its rivals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from statistics import median
from typing import Any

import torch
from torch import Tensor

from dipddpm.experiments.training_runs import TrainingRuns
from dipddpm.injection import Injection
from dipddpm.measure.instruments.alone import alone
from dipddpm.measure.instruments.interleaved_timing import in_turns, timed
from dipddpm.measure.measured_paces import ROUNDS
from dipddpm.schedule import Schedule
from dipddpm.training import Training, TrainingSettings, initial_network


@alone
def time_updates(
    injections: Mapping[str, Injection],
    mus: Mapping[str, Tensor | None],
    images: Tensor,
    config: Mapping[str, Any],
    settings: TrainingSettings,
    schedule: Schedule,
    each: int,
    device: torch.device,
    clock: Callable[[], float],
) -> dict[str, object]:
    """Seconds per update, by name of the arm: the median of its turns, each of a few updates on the real images and
    priors.

    Args:
        injections, mus: by name of the arm.
        each: updates per turn.
    """

    def turn(name: str) -> Callable[[], None]:
        model = initial_network(config, settings.seed, injections[name].channels)
        training = Training(model, schedule, settings, injections[name], device)

        def updates() -> None:
            for _ in range(each):
                training.update(images, mus[name])

        return updates

    taken = in_turns({name: timed(turn(name), clock) for name in injections}, ROUNDS)
    return {"seconds": {name: median(seconds) / each for name, seconds in taken.items()}}


class UpdateTimes:
    """How long an update of each arm of some training runs takes."""

    def __init__(self, runs: TrainingRuns):
        self.runs = runs
        self.seconds = cache(self._seconds)

    def _seconds(self, task: str) -> Mapping[str, float]:
        """Seconds per update, by name of the arm."""
        runs = self.runs
        each = min(10, max(1, runs.checkpoints[-1] // 100))  # a hundredth of a run, but ten updates will do
        arms = runs.arms(task)
        made = {arm.name: runs.prior_set(task, arm, "train") for arm in arms}
        found = runs.memo(
            time_updates,
            {
                "injections": {arm.name: arm.injection for arm in arms},
                "mus": {name: priors.mu if priors else None for name, priors in made.items()},
                "images": runs.images("train"), "config": runs.config, "settings": runs.settings(each * (1 + ROUNDS)),
                "schedule": runs.schedule, "each": each, "device": runs.device,
            },
            aside={"clock": runs.fits.clock},
        )  # fmt: skip
        return found.value["seconds"]
