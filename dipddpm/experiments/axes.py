"""Axes: what a run covers, declared where it is used, and read from ``--axis NAME=VALUE,VALUE``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, TypeVar

from dipddpm.errors import InputError

KEY = "axis"
Part = TypeVar("Part")


@dataclass(frozen=True)
class Axis:
    """Metadata of a dataclass field that is an axis.

    Attributes:
        option: its name in ``--axis NAME=VALUE,VALUE``; "" for a field that profiles alone set.
        meaning: text for the help.
        adds_cells: its values add cells and do not change the cells of other values. Every other field decides all
            results, so that runs which differ in it cannot be compared.
        least, most: the smallest and the largest whole number allowed.
        ascending: the values are sorted; 0 is left out, because it is run in any case.
        clears: fields that are reset to their defaults when this one is given.
        kind: type of a value, for a field that is empty by default.
    """

    option: str
    meaning: str = ""
    adds_cells: bool = False
    least: int = 1
    most: int = 10**6
    ascending: bool = False
    clears: tuple[str, ...] = ()
    kind: type = int


def axis(option: str, meaning: str = "", default: Any = MISSING, **known: Any) -> Any:
    """A dataclass field that ``--axis option=...`` sets; further arguments are those of :class:`Axis`."""
    return field(default=default, metadata={KEY: Axis(option, meaning, **known)})


def axes_of(part: object) -> dict[str, tuple[str, Axis]]:
    """{option: (field, its axis)} of a dataclass or an instance of one."""
    return {declared.option: (name, declared) for name, declared in _declared(part).items() if declared.option}


def deciding(part: object) -> dict[str, object]:
    """{field: value} of the fields that do more than add cells."""
    adding = {name for name, declared in _declared(part).items() if declared.adds_cells}
    return {name: value for name, value in vars(part).items() if name not in adding}


def _declared(part: object) -> dict[str, Axis]:
    return {f.name: f.metadata[KEY] for f in fields(part) if KEY in f.metadata}  # type: ignore[arg-type]


def overridden(part: Part, given: Mapping[str, str]) -> Part:
    """``part`` with its axes replaced. ``given`` is {option: ``value,value``}; options that ``part`` lacks are ignored.

    Raises:
        InputError: values of another type, or out of range; the message names the axis.
    """
    changed: dict[str, object] = {}
    defaults = {each.name: each.default for each in fields(part)}  # type: ignore[arg-type]
    for option, (name, declared) in axes_of(part).items():
        if option in given:
            changed[name] = _read(getattr(part, name), declared, given[option])
            changed |= {cleared: defaults[cleared] for cleared in declared.clears}
    return replace(part, **changed)  # type: ignore[type-var]


def _read(old: Any, declared: Axis, text: str) -> object:
    """The value that takes the place of ``old``, from the text that the user wrote."""
    kind: Any = type(old) if not isinstance(old, tuple) else type(old[0]) if old else declared.kind
    given = f"--axis {f'{declared.option}={text}'!r:.80}"
    try:
        values = [kind(value) for value in text.split(",")]
    except ValueError as error:
        raise InputError(f"{given}: every value must be {kind.__name__}") from error
    if kind is int and min(values) < declared.least:
        raise InputError(f"{given}: every value must be at least {declared.least}")
    if kind is int and max(values) > declared.most:
        raise InputError(f"{given}: every value must be at most {declared.most}")
    if not isinstance(old, tuple) and len(values) > 1:
        raise InputError(f"{given}: it takes one value, and not {len(values)}")
    if kind is str and not all(values):
        raise InputError(f"{given}: a name is missing")
    if kind is float and not all(0 < value < math.inf for value in values):
        raise InputError(f"{given}: every value must be a number above 0")
    if declared.ascending and not (values := sorted(set(values) - {0})):
        raise InputError(f"{given}: it needs at least one value above 0")
    return tuple(dict.fromkeys(values)) if isinstance(old, tuple) else values[0]
