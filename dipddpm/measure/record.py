"""Records: what was measured, raw, with everything needed to derive any statistic later."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from dipddpm.measure.files import write_json

SCHEMA = 1
Kind = Literal["quality", "timing", "structure"]
Role = Literal["treatment", "part", "control", "ablation", "bound", "stage", "population", "learner"]
UNFINISHED, INTERRUPTED = "unfinished", "interrupted"  # a session that runs or was killed; one that was broken off
UNPAIRED: tuple[Role, ...] = ("stage", "population", "learner")  # roles that are not compared image by image


class MeasureError(ValueError):
    """A result file that cannot be used. The message names the file and what to do."""


@dataclass(frozen=True)
class Measure:
    """One metric of one cell.

    Attributes:
        values: raw samples, one an image (``quality``) or one a repeat (``timing``).
        kind: ``quality`` (seeded), ``timing`` (of a machine), ``structure`` (exact).
        interval: 95 % interval (low, high) of a value that is of a whole population, which ``values`` cannot give.
        reference: seconds of the reference workload beside each value, where the values are ratios to it. Only such
            timings can be compared with those of another day or machine.
        reruns: the same ratios measured again, because the first were suspicious or unsteady.
    """

    unit: str
    higher_is_better: bool
    kind: Kind
    values: Sequence[float]
    interval: Sequence[float] = ()
    reference: Sequence[float] = ()
    reruns: Sequence[Measure] = ()


@dataclass(frozen=True)
class Record:
    """One cell: one arm at one budget in one group.

    Quality and cost stand in the same record, from the same execution: they cannot come from different step counts.

    Attributes:
        suite: the question that was asked.
        group: what the arms compete within (a task).
        arm: the competitor, as tables name it.
        role: ``treatment``, ``part`` (a treatment without its second stage), ``control``, ``ablation``, ``bound``, or
            ``stage`` (a timing that is no competitor), ``population`` (judged as a whole), or ``learner``: a state of a
            training run, whose budget is the updates so far, whose seconds are those of the whole run so far, and whose
            unit of statistics is the repeat; ``axes["part"]`` is its part in the comparison (reference, treatment,
            control).
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
        origin: the module of the suite that recorded it; the plugin fills it in.
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
    origin: str = ""

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
        config: what decides every result besides the settings, by name; a baseline of another config does not compare.
        origins: {module of a suite: hash of its code}.
        selected: why this is not the whole of the suites (``-k inpaint``, ``interrupted``); "" if it is.
        failed: tests that failed, whose records are missing.
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
    config: dict = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    selected: str = ""

    @property
    def broken_off(self) -> bool:
        """The session did not come to its end: what is missing may be anything."""
        return self.selected in (UNFINISHED, INTERRUPTED)

    def save(self, path: Path) -> None:
        """Write as JSON, atomically. A value that is not finite is written as null, and read as NaN; such a validation
        score is read as none."""
        text = asdict(self)
        for record in text["records"]:
            record["validation"] = _or_null(record["validation"])
            record["measures"] = {name: _written(measure) for name, measure in record["measures"].items()}
        write_json(path, {"schema": SCHEMA} | text)

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read what :meth:`save` wrote.

        Raises:
            MeasureError: no such file, not a whole run file, or of another schema.
        """
        try:
            text = json.loads(path.read_text(encoding="utf-8"))
            if (schema := text.pop("schema")) != SCHEMA:
                raise MeasureError(f"{path}: schema {schema}, this version reads {SCHEMA}; run the suite again")
            records = [
                Record(**r | {"measures": {name: read_measure(m) for name, m in r["measures"].items()}})
                for r in text.pop("records")
            ]
            return cls(**text, records=records)
        except FileNotFoundError as error:
            raise MeasureError(f"{path}: no such run file") from error
        except OSError as error:
            raise MeasureError(f"{path}: cannot be read ({error.strerror}): name a run file") from error
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            raise MeasureError(f"{path}: not a run file of dipddpm") from error


def _written(measure: dict) -> dict:
    """A measure as JSON holds it: no NaN, and nothing that is empty."""
    measure |= {name: [*map(_or_null, measure[name])] for name in ("values", "interval")}
    measure["reruns"] = [_written(rerun) for rerun in measure["reruns"]]
    return {name: value for name, value in measure.items() if value or name not in ("interval", "reference", "reruns")}


def _or_null(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def read_measure(text: Mapping) -> Measure:
    """The measure that JSON holds."""
    read = {name: [math.nan if v is None else v for v in text[name]] for name in ("values", "interval") if name in text}
    return Measure(**{**text, **read, "reruns": tuple(map(read_measure, text.get("reruns", ())))})
