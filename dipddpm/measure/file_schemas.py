"""What run files and baselines may hold, field by field: msgspec checks a file against it before anything is built.

Numbers and texts are bounded, so that no sum overflows and no text of a megabyte becomes a heading or a file name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from dipddpm.measure.escape import visible

LARGEST = 1e300  # of a number: beyond it sums overflow

Count = Annotated[int, Meta(ge=0, le=2**53)]
Number = Annotated[int, Meta(ge=-(2**53), le=2**53)] | Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
Positive = Annotated[int, Meta(ge=0, le=2**53)] | Annotated[float, Meta(ge=0, le=LARGEST)]
Name = Annotated[str, Meta(min_length=1, max_length=300)]
Text = Annotated[str, Meta(max_length=3000)]
Values = list[Number | None]  # null stands for NaN


class MeasureFile(msgspec.Struct, forbid_unknown_fields=True):
    """A measure in a run file."""

    unit: Text
    higher_is_better: bool
    kind: Literal["quality", "timing", "structure"]
    values: Values
    interval: Values = []
    yardstick: list[Number] = []
    reruns: list[MeasureFile] = []

    def __post_init__(self) -> None:
        _check_lengths(self.values, self.interval, self.yardstick)


class RecordFile(msgspec.Struct, forbid_unknown_fields=True):
    """A record in a run file."""

    suite: Name
    group: Name
    arm: Name
    role: Literal["treatment", "part", "control", "ablation", "bound", "stage", "population", "training"]
    budget: Count
    axes: dict[Name, Any]
    measures: dict[Name, MeasureFile]
    seconds: dict[Name, Positive]
    units: dict[Name, Positive] = {}
    memory: dict[Name, Number] = {}
    family: Text | None = None
    judges: list[Name] = []
    chosen: list[Name] = []
    validation: dict[Name, Number | None] = {}
    edges: list[Text] = []
    diverged: Count = 0
    pace: dict[Name, Text] = {}
    training_seconds: Positive = 0.0
    repeat: Count = 0
    leak: Name = "none"
    seeds: dict[Name, Any] = {}
    items: list[Name] = []
    clusters: list[Name] = []
    origin: Text = ""

    def __post_init__(self) -> None:
        if self.diverged > len(self.items):
            raise ValueError(f"{self.diverged} items diverged of {len(self.items)}")
        if self.clusters and len(self.clusters) != len(self.items):
            raise ValueError(f"{len(self.clusters)} clusters of {len(self.items)} items")
        for name, measure in self.measures.items():
            per_item = measure.kind == "quality" and self.items and not measure.interval
            if per_item and self.role not in ("stage", "population") and len(measure.values) != len(self.items):
                raise ValueError(f"{len(measure.values)} values of {name!r:.40} for {len(self.items)} items")


class PaceFile(msgspec.Struct, forbid_unknown_fields=True):
    """A pace in a run file."""

    stage: Name
    key: Text
    unit: Text
    batch: Count
    samples: Annotated[list[Positive], Meta(min_length=1)]


class SplitsFile(msgspec.Struct, forbid_unknown_fields=True, rename={"left_out": "left out"}):
    """What the splits of the data have in common, in a run file."""

    sizes: dict[Name, Count]
    left_out: dict[Name, Text]
    equal: Count
    near: Count
    pairs: list[Annotated[list[Name], Meta(min_length=2, max_length=2)]]
    known: Text


class RunFile(msgspec.Struct, forbid_unknown_fields=True):
    """A run file, without its version."""

    title: Text
    settings: dict[Name, Any]
    judges: Annotated[list[Name], Meta(min_length=1)]
    thresholds: dict[Name, list[Number]]
    grid: list[Count]
    comparator: Name
    margin: Number
    stages: Annotated[list[Name], Meta(min_length=1)]
    machine: dict[Name, Any]
    records: list[RecordFile]
    failed: Count = 0
    config: dict[Text, Any] = {}
    origins: dict[Text, Text] = {}
    selected: Text = ""
    failures: dict[Text, Text] = {}
    paces: list[PaceFile] = []
    splits: SplitsFile | UnsetType = UNSET


class EntryOf(msgspec.Struct, forbid_unknown_fields=True):
    """What an entry of a baseline is of."""

    suite: Text
    items: Text
    n: Count
    seeds: dict[Name, Any]


class EntryMeasure(msgspec.Struct, forbid_unknown_fields=True):
    """A measure of an entry; unlike in a run, every value is a number."""

    unit: Text
    better: Literal["higher", "lower"]
    kind: Literal["quality", "timing", "structure"]
    values: Annotated[list[Number], Meta(min_length=1)]
    interval: list[Number] = []
    yardstick: list[Number] = []

    def __post_init__(self) -> None:
        _check_lengths(self.values, self.interval, self.yardstick)


class SectionFile(msgspec.Struct, forbid_unknown_fields=True):
    """A section of a baseline, its entries apart: :func:`check_section` checks each."""

    reason: Text
    date: Text
    versions: dict[Name, Any]
    machine: dict[Name, Any]
    settings: dict[Name, Any]
    config: dict[Text, Any]
    config_hash: Text
    origins: dict[Text, Text]
    thresholds: dict[Name, list[Number]]
    grid: list[Count]
    entries: dict[Text, dict[Name, dict[str, Any]]]
    tolerances: dict[Name, dict[Name, Number] | list[dict[Name, Number | Text]]] | UnsetType = UNSET
    floor: dict[Name, Any] | UnsetType = UNSET


def check_run(text: Any) -> None:
    """Raise ValueError unless ``text`` is what a run file holds; the message says where."""
    msgspec.convert(text, RunFile)


def check_section(text: Any) -> None:
    """Raise ValueError unless ``text`` is a section of a baseline; the message says where, with the entry's name."""
    section = msgspec.convert(text, SectionFile)
    if isinstance(section.floor, dict):
        msgspec.convert(section.floor.get("entries", {}), dict[Text, dict[Name, dict[Name, Number]]])
        msgspec.convert({n: v for n, v in section.floor.items() if n != "entries"}, dict[Name, dict[Name, Number]])
    for key, measures in section.entries.items():
        try:
            for name, content in measures.items():
                msgspec.convert(content, EntryOf if name == "of" else EntryMeasure)
            if "of" not in measures:
                raise ValueError("it does not say what it is of")
        except ValueError as error:
            raise ValueError(f"{visible(key):.200}: {error}") from error


def _check_lengths(values: list, interval: list, yardstick: list) -> None:
    if len(interval) not in (0, 2) or len(yardstick) not in (0, len(values)):
        raise ValueError("an interval has two ends, and a yardstick a value for each ratio")
