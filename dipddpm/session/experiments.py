"""The experiments of one seed, as suites ask for them: each is built when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch

from dipddpm.data import Dataset
from dipddpm.denoisers import Denoiser
from dipddpm.errors import InputError
from dipddpm.experiments.arms import Arm, RestorationAxes
from dipddpm.experiments.earlier_claims import EarlierClaims
from dipddpm.experiments.fits import Fits
from dipddpm.experiments.fitting_quality import FittingExperiment
from dipddpm.experiments.generation import Generation
from dipddpm.experiments.profiles import Profile
from dipddpm.experiments.restoration import Restoration
from dipddpm.experiments.restored_population import RestoredPopulations
from dipddpm.experiments.training_quality import TrainingQuality
from dipddpm.experiments.training_runs import TrainingRuns
from dipddpm.extractors import NamedExtractor
from dipddpm.memo import Memo
from dipddpm.session.stage_paces import StagePaces

CellPoint = tuple[str, Arm, int]
"""A cell of the restoration experiment: task, arm, network evaluations."""


class Experiments:
    """Everything that a suite may ask about, of one seed.

    Attributes:
        profile: what is covered; seed: of all random draws.
        memo: finds or computes and stores; clock: seconds, waiting for the device.
    """

    def __init__(
        self,
        profile: Profile,
        dataset: Dataset,
        denoiser: Denoiser,
        memo: Memo,
        *,
        seed: int,
        tuning_seed: int,
        device: torch.device,
        clock: Callable[[], float],
        extractor: NamedExtractor | None = None,
    ):
        self.profile, self.dataset, self.denoiser, self.memo = profile, dataset, denoiser, memo
        self.seed, self.tuning_seed, self.device, self.clock = seed, tuning_seed, device, clock
        self.extractor = extractor or NamedExtractor(device=device)

    @cached_property
    def fits(self) -> Fits:
        """Photographs, observations and DIP fits."""
        return Fits(
            self.profile.restoration, self.dataset, self.memo,
            seed=self.seed, tuning_seed=self.tuning_seed, device=self.device, clock=self.clock,
            denoiser=self.denoiser,
        )  # fmt: skip

    @cached_property
    def restoration(self) -> Restoration:
        """The restoration experiment."""
        return Restoration(self.fits, self.denoiser)

    @cached_property
    def fitting(self) -> FittingExperiment:
        """What each recipe of a DIP reaches alone, and how soon."""
        return FittingExperiment(self.restoration)

    @cached_property
    def earlier_claims(self) -> EarlierClaims:
        """Protocols of published comparisons, each beside the same one without its flaw."""
        return EarlierClaims(self.restoration)

    @cached_property
    def restored_populations(self) -> RestoredPopulations:
        """How natural the restorations of an arm look together."""
        return RestoredPopulations(self.fits, self.extractor)

    @cached_property
    def generation(self) -> Generation:
        """The generation experiment."""
        axes = self.profile.generation
        return Generation(
            self.dataset, self.denoiser, self.memo, count=axes.population, iterations=axes.iterations,
            architecture=self.profile.restoration.architectures[0], seed=self.seed, device=self.device,
            clock=self.clock,
        )  # fmt: skip

    @cached_property
    def reference(self) -> torch.Tensor:
        """(M, 3, H, W) uint8: the images that populations are held against, of photographs that no prior was made of.

        Raises:
            InputError: the other training photographs have fewer images than a population.
        """
        axes, every = self.profile.generation, self.generation.reference()
        if len(every) < axes.population:
            raise InputError(
                f"data set {self.dataset.label!r}: a population of {axes.population} images needs a reference as large "
                f"of photographs that no prior was made of, which have {len(every)}: lower it with --axis population="
            )
        return self.generation.reference(min(len(every), axes.reference))

    @cached_property
    def training(self) -> TrainingQuality:
        """The training experiment."""
        runs = TrainingRuns(self.restoration, self.profile.training)
        return TrainingQuality(runs, self.profile.generation.reference, self.extractor)

    @cached_property
    def paces(self) -> StagePaces:
        """The kinds of work that records are charged for."""
        return StagePaces(self)

    def cells(self, asks: Callable[[Arm, RestorationAxes], bool]) -> dict[str, CellPoint]:
        """{name for ``-k``: cell} of the restoration cells whose arm a suite asks about."""
        axes = self.profile.restoration
        return {
            f"{task}-{cell_name(arm, nfe)}": (task, arm, nfe)
            for task in axes.tasks
            for arm, nfe in self.restoration.cells(task)
            if asks(arm, axes)
        }


def cell_name(arm: Arm, nfe: int) -> str:
    """How ``-k`` finds a cell: ``dip-skip-100-at-5``."""
    return f"{arm.label.replace(' ', '-')}-at-{nfe}" if nfe else f"{arm.label.replace(' ', '-')}-alone"
