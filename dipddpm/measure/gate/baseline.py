"""Baselines: the stored results that runs are compared with.

A baseline is a JSON file that is reviewed like code. It has one section for CPUs and one for each kind of GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from dipddpm.measure.content import digest
from dipddpm.measure.escape import visible
from dipddpm.measure.file_schemas import check_section
from dipddpm.measure.files import readable_json, write_text
from dipddpm.measure.gate.keys import key_of
from dipddpm.measure.gate.tolerances import Tolerances
from dipddpm.measure.record import Measure, MeasureError, Run, read_measure
from dipddpm.measure.strict_json import strict_json

FORMAT = 3


class NoBaseline(MeasureError):
    """There is nothing to compare with: the file does not exist, or has no section for this CPU or GPU."""


@dataclass(frozen=True)
class BaselineEntry:
    """What a baseline keeps of one record.

    Attributes:
        origin: module of the suite that recorded it.
        items: hash of the image keys.
        n: how many images its values are averaged over; 0 for a population, which is judged as a whole.
        seeds: what its random numbers derive from.
        measures: those that the gate can compare: quality, structure, and timings that are ratios to the yardstick
            workload.
    """

    origin: str
    items: str
    n: int
    seeds: Mapping[str, object]
    measures: Mapping[str, Measure]


@dataclass
class Section:
    """The baseline of CPUs, or of one kind of GPU.

    Attributes:
        reason: why it was promoted; date: when.
        versions, machine: what it was measured on.
        settings, config: as in the run; config_hash: of the config.
        origins: {module of a suite: hash of its code}.
        thresholds, grid: as in the run; they tell which thresholds a later run no longer reaches.
        tolerances, floor: as :class:`Tolerances` reads them.
        entries: by key: suite / group / arm / budget / repeat, then by which judge the setting was chosen, and for
            stages their axes.

    Two entries are compared only if settings, config, code of the suite, images and seeds agree. These are kept one by
    one and not as a single hash, so that a message can name what differs. The code under test, the machine and the
    tuned setting may differ: they are what the comparison is about.
    """

    reason: str
    date: str
    versions: dict
    machine: dict
    settings: dict
    config: dict
    config_hash: str
    origins: dict
    thresholds: dict
    grid: list
    tolerances: dict = field(default_factory=dict)
    floor: dict = field(default_factory=dict)
    entries: dict[str, BaselineEntry] = field(default_factory=dict)


def section_name(device: str, machine: Mapping[str, object]) -> str:
    """The section of a device: ``cpu``, or ``cuda (NVIDIA H100 80GB HBM3)`` for a GPU of that name.

    All CPUs share a section, because its tolerances for another machine were measured between two kinds of CPU. Each
    kind of GPU has its own. Libraries choose other kernels on another card, and these round differently; an iterative
    fit amplifies that, by how much nobody has measured. Times in units of the yardstick differ between cards as well.

    Args:
        device: as a run's settings have it: ``cpu``, ``cuda``, ``cuda:1``.
        machine: as :func:`dipddpm.measure.instruments.machine.machine` describes it; ``gpu`` is the name of the card.
    """
    kind, card = device.partition(":")[0], machine.get("gpu")
    return f"{kind} ({card})" if kind == "cuda" and card else kind


def section_of(run: Run) -> str:
    """Name of the section that a run belongs to."""
    return section_name(str(run.settings.get("device", "cpu")), run.machine)


def gated(measure: Measure) -> bool:
    """Whether the gate can compare it: everything but plain seconds, which say nothing on another machine."""
    return measure.kind != "timing" or bool(measure.yardstick)


def entries_of(run: Run) -> dict[str, BaselineEntry]:
    """The entries of a run, by key. A record without a measure that can be gated has none."""
    made: dict[str, BaselineEntry] = {}
    for record in run.records:
        measures = {name: measure for name, measure in record.measures.items() if gated(measure)}
        if measures:
            key, again = key_of(record), 2
            while key in made:  # a stage may be recorded twice: later ones are numbered, in order
                key, again = f"{key_of(record)} #{again}", again + 1
            items = digest(list(record.items))[:12] if record.items else ""
            n = len(record.items) or max(len(measure.values) for measure in measures.values())
            n = 0 if record.role == "population" else n
            made[key] = BaselineEntry(record.origin, items, n, dict(record.seeds), measures)
    return made


def save(file: Path, sections: Mapping[str, Section]) -> None:
    """Write the sections, one measure per line, so that a diff of two versions can be read.

    Raises:
        MeasureError: a tolerance below the noise floor.
    """
    for section in sections.values():
        Tolerances.checked(section.tolerances, section.floor, file)
    write(file, sections)


def write(file: Path, sections: Mapping[str, Section]) -> None:
    """As :func:`save`, but without checking the tolerances: a floor that was just measured may forbid them."""
    text: dict[str, object] = {"format": FORMAT}
    for name, section in sorted(sections.items()):
        entries = {
            key: {"of": {"suite": e.origin, "items": e.items, "n": e.n, "seeds": e.seeds}}
            | {name: _measure_as_json(measure) for name, measure in e.measures.items()}
            for key, e in section.entries.items()
        }
        values = {f.name: getattr(section, f.name) for f in fields(section)}
        text[name] = values | {"entries": entries}
    write_text(file, readable_json(text) + "\n")


def load(file: Path, check: bool = True) -> dict[str, Section]:
    """The sections of a baseline file, by the names that :func:`section_name` gives.

    Args:
        check: refuse tolerances below the noise floor.

    Raises:
        NoBaseline: no such file.
        MeasureError: not a baseline, of another format, or with a tolerance that cannot hold.
    """
    try:
        text = strict_json(file.read_bytes())
        found = text.pop("format")
        if found != FORMAT:
            raise MeasureError(f"{file}: format {found!r:.20}, this version reads {FORMAT}: promote a run again")
        sections = {name: _section(section) for name, section in text.items()}
    except FileNotFoundError as error:
        raise NoBaseline(f"{file}: no such baseline: `dipddpm baseline promote RUN --reason ...`") from error
    except MeasureError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        why = visible(f"{type(error).__name__}: {error}")
        raise MeasureError(f"{file}: not a baseline of dipddpm ({why:.300})") from error
    for section in sections.values():
        if check:
            Tolerances.checked(section.tolerances, section.floor, file)
    return sections


def section_for(run: Run, sections: Mapping[str, Section], file: Path) -> Section:
    """The section that a run is compared with.

    Raises:
        NoBaseline: none for CPUs, or none for its card; the sections of other cards say nothing about it.
    """
    name = section_of(run)
    if name not in sections:
        held, here = ", ".join(sections) or "nothing", "card" if name.startswith("cuda") else "kind of device"
        raise NoBaseline(
            f"{file}: no baseline for {name}, only for {held}, whose numbers are not comparable: promote a run from "
            f"this {here} with `dipddpm baseline promote RUN --reason ...`"
        )
    return sections[name]


def _section(text: dict) -> Section:
    check_section(text)
    entries = {}
    for key, values in text.pop("entries").items():
        of = values.pop("of")
        measures = {name: _measure_of_json(measure) for name, measure in values.items()}
        entries[key] = BaselineEntry(of["suite"], of["items"], of["n"], of["seeds"], measures)
    return Section(**text, entries=entries)


def _measure_as_json(measure: Measure) -> dict:
    text: dict[str, object] = {
        "unit": measure.unit,
        "better": "higher" if measure.higher_is_better else "lower",
        "kind": measure.kind,
        "values": list(measure.values),
    }
    more = {"interval": list(measure.interval), "yardstick": list(measure.yardstick)}
    return text | {name: values for name, values in more.items() if values}


def _measure_of_json(text: dict) -> Measure:
    higher = text.pop("better") == "higher"
    return read_measure(text | {"higher_is_better": higher})
