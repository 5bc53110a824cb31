"""Records: what was measured, raw, with everything needed to derive any statistic later."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from dipddpm.measure.files import write_json

SCHEMA = 1
Kind = Literal["quality", "timing", "structure"]
Role = Literal["treatment", "part", "control", "ablation", "bound", "stage", "learner"]


class MeasureError(ValueError):
    """A result file that cannot be used. The message names the file and what to do."""


@dataclass(frozen=True)
class Measure:
    """One metric of one cell.

    Attributes:
        values: raw samples, one an image (``quality``) or one a repeat (``timing``).
        kind: ``quality`` (seeded), ``timing`` (of a machine), ``structure`` (exact).
    """

    unit: str
    higher_is_better: bool
    kind: Kind
    values: Sequence[float]


@dataclass(frozen=True)
class Record:
    """One cell: one arm at one budget in one group.

    Quality and cost stand in the same record, from the same execution: they cannot come from different step counts.

    Attributes:
        suite: the question that was asked.
        group: what the arms compete within (a task).
        arm: the competitor, as tables name it.
        role: ``treatment``, ``part`` (a treatment without its second stage), ``control``, ``ablation``, ``bound``, or
            ``stage`` (a timing that is no competitor), or ``learner``: a state of a training run, whose budget is the
            updates so far, whose seconds are those of the whole run so far, and whose unit of statistics is the
            repeat; ``axes["part"]`` is its part in the comparison (reference, treatment, control).
        family: treatments and parts of one family share their first stage.
        budget: what is swept (network evaluations).
        chosen: at this budget the arm did best on the validation images; its row in the leaderboard.
        axes: every setting, by name.
        measures: by name.
        seconds: wall-clock an image by stage; their sum is the total cost.
        units: steps an image by stage (iterations, network evaluations): what a stage costs is seconds over units.
        repeat: which repeat of the experiment this is; repeats differ in their seed alone.
        memory: peak bytes added, by stage.
        validation: mean of the primary metric on the validation images, where the arm was tuned on them.
        leak: ``none``, or what the arm saw that it must not; a leaking record enters no contrast.
        seeds: what the random numbers derive from.
        items: key of each image, in the order of the values.
    """

    suite: str
    group: str
    arm: str
    role: Role
    budget: int
    axes: Mapping[str, object]
    measures: Mapping[str, Measure]
    seconds: Mapping[str, float]
    units: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, int] = field(default_factory=dict)
    family: str | None = None
    chosen: bool = False
    validation: float | None = None
    repeat: int = 0
    leak: str = "none"
    seeds: Mapping[str, object] = field(default_factory=dict)
    items: Sequence[str] = ()

    @property
    def cost(self) -> float:
        """Seconds an image, all stages."""
        return sum(self.seconds.values())


@dataclass
class Run:
    """All records of one session.

    Attributes:
        title: what was run, for headings.
        settings: profile, data set, seed, ...: whatever describes it.
        primary: the metric that ranks and that contrasts are made of.
        thresholds: {metric: levels} for budget-to-threshold; the primary metric has one more, ``margin`` worse than
            the reference arm at the largest shared budget.
        grid: budgets common to all arms; budget-to-threshold counts these alone.
        reference: the control that is also compared at the same budget (the start from noise).
        stages: the two stages of a treatment, in order; the controls have the second alone.
        machine: what it ran on.
    """

    title: str
    settings: dict
    primary: str
    thresholds: dict[str, list[float]]
    grid: list[int]
    reference: str
    margin: float
    stages: list[str]
    machine: dict
    records: list[Record] = field(default_factory=list)
    failed: int = 0

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        write_json(path, {"schema": SCHEMA} | asdict(self))

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read what :meth:`save` wrote.

        Raises:
            MeasureError: no such file, not a run, or of another schema.
        """
        try:
            text = json.loads(path.read_text())
            schema = text.pop("schema")
        except FileNotFoundError as error:
            raise MeasureError(f"{path}: no such run file") from error
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            raise MeasureError(f"{path}: not a run file of dipddpm") from error
        if schema != SCHEMA:
            raise MeasureError(f"{path}: schema {schema}, this version reads {SCHEMA}; run the suite again")
        records = [
            Record(**r | {"measures": {name: Measure(**m) for name, m in r["measures"].items()}})
            for r in text.pop("records")
        ]
        return cls(**text, records=records)
