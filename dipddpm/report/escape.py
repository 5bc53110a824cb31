"""The names in a run, made harmless for the format that its report is written in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from dipddpm.measure.record import Run

APART = ("failures",)
"""What exceptions said is no name: the section that quotes it quotes it literally."""


def with_names(run: Run, escape: Callable[[str], str]) -> Run:
    """The run with every name in it escaped, in keys and values; the run itself where that changes nothing.

    Tables, sentences and headings that are made from the returned run need no escaping of their own.
    """
    before = {column.name: getattr(run, column.name) for column in fields(run) if column.name not in APART}
    after = {name: _of(value, escape) for name, value in before.items()}
    return run if after == before else replace(run, **after)


def _of(value: Any, escape: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {_of(key, escape): _of(part, escape) for key, part in value.items()}
    if isinstance(value, list | tuple):
        numbers = all(isinstance(part, int | float) for part in value)
        return value if numbers else type(value)(_of(part, escape) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{column.name: _of(getattr(value, column.name), escape) for column in fields(value)})
    return value
