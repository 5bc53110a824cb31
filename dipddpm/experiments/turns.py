"""Times of things that are compared: measured in turns, so that whatever else the machine does meets all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median

ROUNDS = 5


def in_turns(
    works: Mapping[str, Callable[[], object]], clock: Callable[[], float], rounds: int = ROUNDS
) -> dict[str, float]:
    """Median seconds of each piece of work, done A B C ... A B C ... after a round that is not measured.

    Args:
        clock: seconds; should wait for the device.
    """
    for work in works.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            started = clock()
            work()
            taken[name].append(clock() - started)
    return {name: median(seconds) for name, seconds in taken.items()}
