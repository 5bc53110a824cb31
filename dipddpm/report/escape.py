"""The names in a run, made harmless for the format that its report is written in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from dipddpm.measure.record import Record, Run


def with_names(run: Run, escape: Callable[[str], str]) -> Run:
    """The run with every text in it escaped, keys included; the run itself where that changes nothing.

    What is made of the run afterwards, tables, sentences and headings, needs no escaping of its own.
    """
    changed = _escaped(run, escape)
    return run if changed == _content(run) else replace(run, **changed)


def _content(run: Run) -> dict[str, Any]:
    return {column.name: getattr(run, column.name) for column in fields(run)}


def _escaped(whole: Run | Record, escape: Callable[[str], str]) -> dict[str, Any]:
    return {column.name: _of(getattr(whole, column.name), escape) for column in fields(whole)}


def _of(value: Any, escape: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {_of(key, escape): _of(part, escape) for key, part in value.items()}
    if isinstance(value, list | tuple) and any(
        isinstance(part, str | Mapping | list | tuple | Record) for part in value
    ):
        return type(value)(_of(part, escape) for part in value)
    if isinstance(value, Record):
        return replace(value, **_escaped(value, escape))
    return replace(value, unit=escape(value.unit)) if hasattr(value, "unit") else value
