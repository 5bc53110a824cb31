"""Several pieces of work timed in turns, A B C ... A B C ..., so that whatever else the machine does meets all of them.

:mod:`~dipddpm.measure.instruments.paired_timing` is the case of two, one of which is a fixed yardstick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

Turn = Callable[[], float]
"""Does a piece of work once, and says how many seconds of it count."""


def in_turns(turns: Mapping[str, Turn], rounds: int, *, warm: bool = False) -> dict[str, list[float]]:
    """The seconds of each turn, one value per round, after a round that is not measured.

    The unmeasured round loads modules and fills caches; that time is not counted for any turn.

    Args:
        warm: every turn has already run once, so that the unmeasured round is left out.
    """
    for turn in () if warm else turns.values():
        turn()
    taken: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            taken[name].append(turn())
    return taken


def timed(work: Callable[[], object], clock: Callable[[], float], loops: int = 1) -> Turn:
    """A turn of ``loops`` executions of some work, all of whose seconds count.

    Args:
        clock: seconds; should wait for the device.
    """

    def turn() -> float:
        started = clock()
        for _ in range(loops):
            work()
        return clock() - started

    return turn
