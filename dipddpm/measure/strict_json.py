"""Strict JSON, exactly as specified, checked against a schema.

A file that has a name twice in one object, NaN, or a text where a number belongs is refused: its meaning is unclear.
"""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar

import msgspec

from dipddpm.measure.escape import visible

Kind = TypeVar("Kind")


def strict_json(text: str | bytes) -> Any:
    """The value of a JSON text, in UTF-8 if it is bytes.

    Raises:
        ValueError: not JSON, or no UTF-8; a name that stands twice in an object; NaN or Infinity, which are no JSON, or
            a number as large; whole numbers of thousands of digits; or brackets that are nested beyond what Python can
            follow. The message is one line.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def json_of(text: str | bytes, kind: type[Kind]) -> Kind:
    """The value of a JSON text that has the type ``kind``, as msgspec checks it: its Structs, dataclasses, TypedDicts.

    Raises:
        ValueError: as :func:`strict_json`, or a value of another type; the message says where, in one line.
    """
    try:
        return msgspec.convert(strict_json(text), kind)
    except msgspec.ValidationError as error:
        raise ValueError(visible(str(error))) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice")
    return made


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text:.20} is beyond what a number can be")
    return value
