"""Records: what was measured, as raw values, with everything that is needed to compute any statistic later."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from dipddpm.measure.files import write_json

SCHEMA = 2
Kind = Literal["quality", "timing", "structure"]
RecordRole = Literal["treatment", "part", "control", "ablation", "bound", "stage", "population", "training"]
# Run.selected of a session that still runs or was killed, and of one that was interrupted and had time to say so.
UNFINISHED, INTERRUPTED = "unfinished", "interrupted"
# Records of these roles have no value per image that could be paired with the value of another arm.
UNPAIRED: tuple[RecordRole, ...] = ("stage", "population", "training")


class MeasureError(ValueError):
    """A result file that cannot be used. The message names the file and what to do."""


@dataclass(frozen=True)
class Measure:
    """One metric of one cell.

    Attributes:
        values: raw samples: one value per image (``quality``), or one value per repeat (``timing``).
        kind: ``quality`` (the same seed gives the same value), ``timing`` (depends on the machine), ``structure``
            (a count, which must be exact).
        interval: 95 % interval (low, high) of a value that describes a whole population. Such a value stands alone in
            ``values``, so that no interval can be computed from them.
        yardstick: seconds of the yardstick workload, one per value, where the values are ratios to it. Only such
            timings can be compared with those of another day or machine.
        reruns: the same ratios measured again, because the first were suspicious or unsteady.
    """

    unit: str
    higher_is_better: bool
    kind: Kind
    values: Sequence[float]
    interval: Sequence[float] = ()
    yardstick: Sequence[float] = ()
    reruns: Sequence[Measure] = ()


@dataclass(frozen=True)
class Record:
    """One cell: one arm at one budget in one group.

    Quality and cost stand in the same record because both come from the same execution: nobody can quote the quality of
    many steps beside the cost of few.

    Attributes:
        suite: the question that was asked.
        group: the arms of one group compete with each other (a task).
        arm: the competitor, as tables name it.
        role: how the arm takes part.

            ``treatment``, ``control``, ``ablation`` and ``bound`` are competitors; ``part`` is a treatment without its
            second stage. ``stage`` is a timing that competes with nothing. ``population`` is judged as a whole and not
            image by image. ``training`` is the state of a training run after some updates: its budget is the number of
            updates so far, its seconds are those of the whole run so far, and its statistics are over repeats;
            ``axes["part"]`` says whether that run is ``plain``, ``treatment`` or ``control``.
        family: treatments and parts of one family share their first stage.
        budget: what is swept; its unit is named by the run.
        chosen: at this budget the arm did best on the validation images, so that the leaderboard shows this record.
        axes: every setting, by name.
        measures: by name.
        seconds: wall-clock seconds per image, by stage; their sum is the total cost.
        units: steps per image, by stage; seconds divided by units is the price of one step.
        repeat: which repeat of the experiment this is; repeats differ in their seed alone.
        memory: peak memory per stage: bytes added on top of what was allocated when the stage began.
        validation: mean of the primary metric on the validation images, where the arm was tuned on them.
        leak: ``none``, or what the arm saw that it must not see; a leaking record enters no contrast.
        seeds: what the random numbers derive from.
        items: one key per image, in the order of the values.
        origin: the module of the suite that recorded it; the plugin fills it in.
    """

    suite: str
    group: str
    arm: str
    role: RecordRole
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
        """Seconds per image, all stages."""
        return sum(self.seconds.values())


@dataclass
class Run:
    """All records of one session.

    Attributes:
        title: what was run, for headings.
        settings: profile, data set, seed and whatever else describes the run to a reader.
        primary: the metric that ranks the arms and that contrasts are computed on.
        thresholds: {metric: levels}, for the budget that it takes to reach a level. The primary metric has one more
            level: ``margin`` worse than the comparator at the largest shared budget.
        grid: the budgets that all arms have; only these count for the budget to a threshold.
        comparator: name of the control that treatments are also compared with at the same budget.
        stages: the two stages of a treatment, in order; the controls have the second alone.
        machine: what it ran on.
        config: by name, what decides every result besides the settings; a run is not compared with a baseline of
            another config.
        origins: {module of a suite: hash of its code}.
        selected: why not all suites were run (``-k NAME``, ``interrupted``); "" if all were.
        failed: number of tests that failed, whose records are missing.
    """

    title: str
    settings: dict
    primary: str
    thresholds: dict[str, list[float]]
    grid: list[int]
    comparator: str
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
        """The session did not come to its end, so that any record may be missing."""
        return self.selected in (UNFINISHED, INTERRUPTED)

    def content(self) -> dict:
        """The run as JSON can hold it.

        JSON has no NaN. A value that is not finite is written as null and read as NaN; a validation score that is not
        finite is written as null and read as None.
        """
        text = asdict(self)
        for record in text["records"]:
            record["validation"] = _or_null(record["validation"])
            record["measures"] = {name: _written(measure) for name, measure in record["measures"].items()}
        return {"schema": SCHEMA} | text

    def save(self, path: Path) -> None:
        """Write :meth:`content` as JSON, atomically."""
        write_json(path, self.content())

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
    """A measure as JSON holds it: null for NaN, and without the optional fields that are empty."""
    measure |= {name: [*map(_or_null, measure[name])] for name in ("values", "interval")}
    measure["reruns"] = [_written(rerun) for rerun in measure["reruns"]]
    return {name: value for name, value in measure.items() if value or name not in ("interval", "yardstick", "reruns")}


def _or_null(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def read_measure(text: Mapping) -> Measure:
    """The inverse of :func:`_written`."""
    read = {name: [math.nan if v is None else v for v in text[name]] for name in ("values", "interval") if name in text}
    return Measure(**{**text, **read, "reruns": tuple(map(read_measure, text.get("reruns", ())))})
