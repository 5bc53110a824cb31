"""Records: what was measured, as raw values, with everything that is needed to compute any statistic later."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from dipddpm.measure.escape import visible
from dipddpm.measure.file_schemas import check_run
from dipddpm.measure.files import write_json
from dipddpm.measure.measured_paces import Pace, read_pace
from dipddpm.measure.strict_json import strict_json

SCHEMA = 3
Kind = Literal["quality", "timing", "structure"]
RecordRole = Literal["treatment", "part", "control", "ablation", "bound", "stage", "population", "training"]
# Run.selected of a session that still runs or was killed, and of one that was interrupted and had time to say so.
UNFINISHED, INTERRUPTED = "unfinished", "interrupted"
# Records of these roles have no value per image that could be paired with the value of another arm.
UNPAIRED: tuple[RecordRole, ...] = ("stage", "population", "training")

# Fields of a record that a run file leaves out where they are empty.
OPTIONAL = ("judges", "chosen", "validation", "edges", "clusters", "pace", "training_seconds", "diverged")


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
        chosen: the judges by which this budget was the arm's best on the validation images, so that the leaderboard of
            each of them shows this record.
        judges: the metrics by whose validation scores this setting was chosen, in the order of the run's judges. An arm
            at a budget has one record for each setting; where two judges chose the same one, a single record has both
            names. Empty where no judge chose anything: every judge sees such a record.
        axes: every setting, by name.
        measures: by name.
        seconds: wall-clock seconds per image, by stage, as they were measured in this cell.
        units: steps per image, by stage; seconds divided by units is the price of one step.
        pace: {stage: key}. Records that share stage and key do the same work in a step: comparisons charge each of them
            the pace of such a step in the run, and not its own seconds (:class:`dipddpm.report.costs.Paces`).
        training_seconds: spent once, before this arm can run at all (what it learned from).
        repeat: which repeat of the experiment this is; repeats differ in their seed alone.
        memory: peak memory per stage: bytes added on top of what was allocated when the stage began.
        validation: {metric: mean over the validation images}; empty where it was not scored there.
        leak: ``none``, or what the arm saw that it must not see; a leaking record enters no contrast.
        seeds: what the random numbers derive from.
        items: one key per image, in the order of the values.
        clusters: per image, in the same order, the name of what it was cut from. Values of one cluster
            are not independent, so that clusters are what is resampled. Empty where each image is its own.
        edges: what of the setting lies on the edge of the grid that it was chosen from, in words.
        diverged: number of images that came out not finite. Such a cell competes with nothing: it is shown, after the
            others and without a rank.
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
    judges: Sequence[str] = ()
    chosen: Sequence[str] = ()
    validation: Mapping[str, float] = field(default_factory=dict)
    edges: Sequence[str] = ()
    diverged: int = 0
    pace: Mapping[str, str] = field(default_factory=dict)
    training_seconds: float = 0.0
    repeat: int = 0
    leak: str = "none"
    seeds: Mapping[str, object] = field(default_factory=dict)
    items: Sequence[str] = ()
    clusters: Sequence[str] = ()
    origin: str = ""

    @property
    def cost(self) -> float:
        """Seconds per image that this cell took itself, all stages."""
        return sum(self.seconds.values())

    def seen_by(self, judge: str) -> bool:
        """Whether a judge sees this record: the setting is its own choice, or nobody's."""
        return not self.judges or judge in self.judges


@dataclass
class Run:
    """All records of one session.

    Attributes:
        title: what was run, for headings.
        settings: profile, data set, seed and whatever else describes the run to a reader.
        judges: the metrics that verdicts are reached by. The first is the primary one, a distortion (PSNR); the second,
            where there is one, judges perception.
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
        failures: {test: why it failed, in one line}.
        paces: of every kind of work in the records, measured in turns on this machine; empty where none were.
        splits: what the splits of the data have in common: ``sizes`` of those compared, ``left out`` with the reason,
            pairs that are ``equal`` or ``near`` copies, the first of them by name in ``pairs``, and ``known``, why
            near copies were not looked for; empty where nothing was compared.
    """

    title: str
    settings: dict
    judges: list[str]
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
    failures: dict[str, str] = field(default_factory=dict)
    paces: list[Pace] = field(default_factory=list)
    splits: dict = field(default_factory=dict)

    @property
    def primary(self) -> str:
        """The metric that tables and figures show where they show a single one."""
        return self.judges[0]

    @property
    def diverged(self) -> int:
        """Number of cells some of whose images diverged."""
        return sum(record.diverged > 0 for record in self.records)

    @property
    def broken_off(self) -> bool:
        """The session did not come to its end, so that any record may be missing."""
        return self.selected in (UNFINISHED, INTERRUPTED)

    @property
    def why_not_whole(self) -> str:
        """Why its numbers are those of a part, and no claim can rest on them; "" of a whole run."""
        if self.failed:
            return f"{self.failed} tests failed"
        if self.selected:
            return f"not a whole run ({self.selected})"
        return "" if self.records else "holds no records"

    def content(self) -> dict:
        """The run as JSON can hold it.

        JSON has no NaN. A value that is not finite is written as null and read as NaN.
        """
        text = asdict(self)
        for name in ("paces", "splits"):
            if not text[name]:
                del text[name]
        for record in text["records"]:
            for name in [name for name in OPTIONAL if not record[name]]:
                del record[name]
            if "validation" in record:
                record["validation"] = {name: _or_null(value) for name, value in record["validation"].items()}
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
            text = strict_json(path.read_bytes())
        except FileNotFoundError as error:
            raise MeasureError(f"{path}: no such run file") from error
        except OSError as error:
            raise MeasureError(f"{path}: cannot be read ({error.strerror}): name a run file") from error
        except ValueError as error:
            raise MeasureError(f"{path}: not a run file of dipddpm ({visible(str(error)):.300})") from error
        return cls.read(text, path)

    @classmethod
    def read(cls, text: dict, path: Path) -> Run:
        """The run that :meth:`content` gave; ``path`` is the file that it lies in, for messages.

        Raises:
            MeasureError: not a whole run, or of another schema.
        """
        try:
            if (schema := text.pop("schema")) != SCHEMA:
                raise MeasureError(f"{path}: schema {schema!r:.20}, this version reads {SCHEMA}; run the suite again")
            check_run(text)
            records = [_read_record(record) for record in text.pop("records")]
            paces = [read_pace(pace) for pace in text.pop("paces", ())]
            return cls(**text, records=records, paces=paces)
        except MeasureError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise MeasureError(f"{path}: not a run file of dipddpm ({visible(str(error)):.300})") from error


def _read_record(text: dict) -> Record:
    validation = {name: math.nan if score is None else score for name, score in text.get("validation", {}).items()}
    measures = {name: read_measure(measure) for name, measure in text["measures"].items()}
    return Record(**text | {"validation": validation, "measures": measures})


def _written(measure: dict) -> dict:
    """A measure as JSON holds it: null for NaN, and without the optional fields that are empty."""
    measure |= {name: [*map(_or_null, measure[name])] for name in ("values", "interval")}
    measure["reruns"] = [_written(rerun) for rerun in measure["reruns"]]
    return {name: value for name, value in measure.items() if value or name not in ("interval", "yardstick", "reruns")}


def _or_null(value: float) -> float | None:
    return value if math.isfinite(value) else None


def read_measure(text: Mapping) -> Measure:
    """The inverse of :func:`_written`, of a text that was checked against its schema."""
    listed = {
        name: [math.nan if v is None else v for v in text[name]] for name in ("values", "interval") if name in text
    }
    return Measure(**{**text, **listed, "reruns": tuple(map(read_measure, text.get("reruns", ())))})
