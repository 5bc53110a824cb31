"""wandb: a run of a project of Weights & Biases; with ``WANDB_MODE=offline`` it stays in the folder ``wandb``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dipddpm.trackers import Tracker

STEP = "step"


class WeightsAndBiases(Tracker):
    """Its client sends from a process of its own, so that it is handed everything at the end.

    A run of theirs counts its own steps, which only grow; ours is a number beside the others, and their axis.
    """

    name = "wandb"
    takes = "PROJECT"
    meaning = "a run of this project of Weights & Biases: PROJECT or ENTITY/PROJECT"
    needs = "wandb"
    extra = "wandb"
    live = False

    def __init__(self, where: str, title: str):
        import wandb

        entity, _, project = where.rpartition("/")
        quiet = wandb.Settings(console="off", silent=True, x_disable_stats=True)
        self._run = wandb.init(entity=entity or None, project=project, name=title, settings=quiet)
        self._run.define_metric("*", step_metric=STEP)

    def settings(self, values: Mapping[str, str]) -> None:
        self._run.config.update(dict(values))

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, STEP: step})

    def texts(self, values: Mapping[str, str]) -> None:
        self._run.summary.update(dict(values))

    def files(self, paths: Sequence[Path]) -> None:
        import wandb

        report = wandb.Artifact("report", type="report")
        for path in paths:
            report.add_file(str(path))
        self._run.log_artifact(report)

    def close(self) -> None:
        self._run.finish()
