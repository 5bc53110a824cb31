"""JSON as specified and nothing else: a file that says a thing twice, or says NaN, has no meaning to hold on to."""

from __future__ import annotations

import json
from typing import Any


def strict_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: not JSON; a name that stands twice in an object; NaN or Infinity, which are no JSON; numbers of
            thousands of digits; or brackets that are nested beyond what Python can follow.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice")
    return made


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
