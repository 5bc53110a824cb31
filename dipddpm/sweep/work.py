"""How many seconds a call will take: counted work, times the pace at which this machine did such work before."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dipddpm.measure.store import Store

DECIDES_PACE = ("architecture", "width", "method", "prior", "denoiser", "injection")
"""Arguments that a step of some work is dearer or cheaper by; each counts by its class or its fingerprint."""
PER_IMAGE = ("seeds", "keys")


def steps(described: Mapping[str, Any]) -> float:
    """Counted work of a call: images times the iterations, network evaluations and updates of each; at least 1."""
    arguments = described["arguments"]
    images = next((len(arguments[name]) for name in PER_IMAGE if name in arguments), arguments.get("count", 1))
    iterations = arguments.get("iterations", 0)
    each = sum(_found("nfe", arguments)) + (max(iterations) if isinstance(iterations, list) else iterations)
    updates = sum(_found("steps", arguments)) * sum(_found("batch", arguments.get("settings", {})))
    return updates or max(1, images * each * max(1, len(arguments.get("mus", ()))))


def _found(name: str, value: object) -> Iterator[float]:
    """Every number of that name anywhere in a described value."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key == name and isinstance(part, int | float):
                yield part
            else:
                yield from _found(name, part)
    elif isinstance(value, list):
        for part in value:
            yield from _found(name, part)


def kind_of_work(described: Mapping[str, Any]) -> tuple[str, ...]:
    """Calls of one kind take about as long for each step."""
    arguments = described["arguments"]
    parts = [_shown(arguments[name]) for name in DECIDES_PACE if name in arguments]
    return described["function"], *parts


def _shown(value: object) -> str:
    """A value by its class; where it has a fingerprint, by that too."""
    if isinstance(value, dict) and len(value) == 1:
        ((name, held),) = value.items()
        return f"{name} {held}" if isinstance(held, str) else name
    return str(value)


class Paces:
    """Seconds of a step of each kind of work, by the results that a store has of this device and machine."""

    def __init__(self, store: Store):
        like = store.call(steps, {}).described
        where = {name: like[name] for name in ("schema", "device", "machine")}
        work: dict[tuple[str, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for described, seconds in _stored(store.root):
            if all(described.get(name) == of for name, of in where.items()):
                for kind in (kind_of_work(described), (described["function"],)):
                    work[kind][0] += seconds
                    work[kind][1] += steps(described)
        self._pace = {kind: seconds / done for kind, (seconds, done) in work.items()}

    def seconds(self, described: Mapping[str, Any]) -> float | None:
        """What a call will take; None where no such work was ever done here."""
        kind = kind_of_work(described)
        pace = self._pace.get(kind, self._pace.get(kind[:1]))
        return None if pace is None else pace * steps(described)


def _stored(root: Path) -> Iterator[tuple[Mapping[str, Any], float]]:
    """(what was called, its seconds) of every result that can be read."""
    for file in sorted(root.glob("*/*.json")):
        try:
            content = json.loads(file.read_bytes())["content"]
            described, seconds = content["call"], float(content["seconds"])
            steps(described), kind_of_work(described)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue  # damaged, or of another schema: the store says so where it is asked for
        yield described, seconds
