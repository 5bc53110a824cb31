"""What a sweep will have to do: every point followed to its end, with stand-ins for what is not in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dipddpm.measure.store import Call, Store, Stored
from dipddpm.sweep.points import Asking, Attempt, Points, is_left
from dipddpm.sweep.stand_ins import stand_in
from dipddpm.sweep.work import Paces, steps


class Planning(Asking):
    """A memo that goes on with stand-ins, and writes down what was asked for.

    Attributes:
        wanted: {key: the call} of what the store does not have, of the last point.
    """

    def __init__(self, store: Store):
        super().__init__(store)
        self.wanted: dict[str, Call] = {}

    def _missing(self, call: Call) -> Stored:
        made = None if is_left(call) else stand_in(call)
        if made is None:
            return super()._missing(call)
        self.wanted[call.key] = call
        return Stored(call.key, made, 1.0, 0, fresh=False)


@dataclass
class Plan:
    """What is expected.

    Attributes:
        points: number of points; whole: how many of them the store has everything for; left: how many are left to
            ``pytest bench``; unknown: how many need a result that no stand-in can replace, so that their later calls
            are not known.
        tasks: {key: (kind, counted work, seconds or None)} of what is to be computed.
        paths: {point: seconds, or tasks, of what it waits for, one after the other}.
    """

    paces: Paces
    points: int = 0
    whole: int = 0
    left: int = 0
    unknown: int = 0
    tasks: dict[str, tuple[str, float, float | None]] = field(default_factory=dict)
    paths: dict[str, float] = field(default_factory=dict)

    @property
    def is_timed(self) -> bool:
        """Whether the pace of every kind of task is known here."""
        return all(seconds is not None for _, _, seconds in self.tasks.values())

    @property
    def expected(self) -> float:
        """Seconds of all tasks where their pace is known, else their number."""
        return sum(self._amount(seconds) for _, _, seconds in self.tasks.values())

    def _amount(self, seconds: float | None) -> float:
        return (seconds or 0.0) if self.is_timed else 1.0

    def add(self, name: str, wanted: Iterable[Call], attempt: Attempt) -> None:
        """A point, and what it will ask for."""
        calls = list(wanted)
        self.points += 1
        self.left += attempt.needs is not None and is_left(attempt.needs)
        self.unknown += bool(attempt.error) or (attempt.needs is not None and not is_left(attempt.needs))
        self.whole += not (calls or attempt.needs or attempt.error)
        for call in calls:
            self.tasks[call.key] = self._priced(call)
        self.paths[name] = sum(self.tasks[call.key][2] or 1.0 for call in calls)

    def _priced(self, call: Call) -> tuple[str, float, float | None]:
        return call.function.__name__, steps(call.described), self.paces.seconds(call.described)

    def remaining(self, name: str) -> float:
        """What is left of the path of a point."""
        return self.paths.get(name, 0.0)

    def finished(self, call: Call, names: Sequence[str]) -> float:
        """A task is done, and with it a part of the paths of these points; how much of what was expected."""
        _, _, seconds = self._priced(call)
        for name in names:
            self.paths[name] = self.paths.get(name, 0.0) - (seconds or 1.0)
        return self._amount(seconds)

    def table(self) -> str:
        """Tasks, counted work and hours by kind."""
        if not self.tasks:
            return "every result is in the store"
        rows = [f"{'task':<22}{'tasks':>8}{'steps':>14}{'hours':>10}"]
        counts = Counter(kind for kind, _, _ in self.tasks.values())
        for kind, count in counts.most_common():
            of_kind = [(work, seconds) for name, work, seconds in self.tasks.values() if name == kind]
            known = [seconds for _, seconds in of_kind if seconds is not None]
            hours = f"{sum(known) / 3600:.2f}" if len(known) == count else "unknown"
            rows.append(f"{kind:<22}{count:>8,}{sum(work for work, _ in of_kind):>14,.0f}{hours:>10}")
        return "\n".join(rows)

    def sentence(self, workers: int) -> str:
        """What it will take, in words."""
        hours = sum(seconds or 0.0 for _, _, seconds in self.tasks.values()) / 3600
        untimed = sorted({kind for kind, _, seconds in self.tasks.values() if seconds is None})
        if not untimed:
            return f"about {hours:.2f} hours of one worker, {hours / workers:.2f} of {workers}"
        known = f"at least {hours:.2f} hours of one worker. " if hours else ""
        return (
            f"{known}The pace of {', '.join(untimed)} is unknown: the store has no "
            f"such work of this machine with so many threads. `dipddpm sweep --profile smoke` with the same --cache "
            f"and --threads measures it in minutes"
        )


def plan(points: Points, memo: Planning) -> Plan:
    """Follow every point to its end."""
    made = Plan(Paces(memo.store))
    for item in points.items:
        memo.wanted = {}
        attempt = points.attempt(item)
        made.add(item.nodeid, memo.wanted.values(), attempt)
    return made
