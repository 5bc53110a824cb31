"""Progress of what takes seconds: a bar with the time that is left on a terminal, and nothing anywhere else.

It has no colour, so that NO_COLOR has nothing to take away.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(total: int, what: str = "", unit: str = "step") -> tqdm:
    """A bar that its user moves on."""
    return tqdm(total=total, desc=what, unit=unit, disable=None, leave=False, dynamic_ncols=True, file=sys.stderr)


def each(items: Iterable[Item], total: int, what: str = "", unit: str = "step") -> Iterator[Item]:
    """The items, with a bar that moves on as each is done."""
    with progress(total, what, unit) as bar:
        for item in items:
            yield item
            bar.update()


@contextmanager
def steps(*names: str) -> Iterator[Any]:
    """A bar over a few steps of different length, each named while it runs: call what this gives to begin the next."""
    with progress(len(names), names[0]) as bar:

        def begin_next() -> None:
            bar.update()
            if bar.n < len(names):
                bar.set_description(names[int(bar.n)])

        yield begin_next
