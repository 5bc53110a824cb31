"""The loop of a sweep: points ask, tasks go out by priority, results come home and are stored as they arrive."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

import pytest

from dipddpm.errors import InputError
from dipddpm.measure.instruments.alone import is_alone
from dipddpm.measure.store import Call, Store
from dipddpm.sweep.claims import Claims
from dipddpm.sweep.engine import Engine
from dipddpm.sweep.parcels import Parcel, pack
from dipddpm.sweep.plan import Plan
from dipddpm.sweep.points import Attempt, Points, is_left
from dipddpm.sweep.progress import Progress
from dipddpm.sweep.worker import Answer

POLL = 0.5  # seconds between two looks at what other sweeps have stored


@dataclass
class Task:
    """A call that is not in the store, and the points that wait for it."""

    call: Call
    points: list[pytest.Item] = field(default_factory=list)
    sent: bool = False

    @property
    def alone(self) -> bool:
        """Whether it times the machine: nothing else may run meanwhile."""
        return is_alone(self.call.function)


@dataclass
class Outcome:
    """What a sweep did.

    Attributes:
        done: results that it computed, by kind; seconds: of work, by kind.
        points: that are in the store whole; left: to ``pytest bench``, which times this machine alone.
        failed: {what failed: why}.
    """

    done: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    points: int = 0
    left: int = 0
    failed: dict[str, str] = field(default_factory=dict)


class Sweep:
    """A sweep of some points over an engine.

    Args:
        store: where results come home to.
        plan: what is expected of each point.
        progress: for people.
    """

    def __init__(self, store: Store, engine: Engine, plan: Plan, progress: Progress):
        self.store, self.engine, self.plan, self.progress = store, engine, plan, progress
        self.claims = Claims(store.root)
        self.tasks: dict[str, Task] = {}
        self.outcome = Outcome()
        self._parts: dict[str, bytes] = {}
        self._polled = 0.0

    def run(self, points: Points) -> Outcome:
        """Until every point is in the store, has failed, or is left to a session of the suites."""
        ready = deque(sorted(points.items, key=lambda item: -self.plan.remaining(item.nodeid)))
        try:
            while ready or self.tasks:
                if ready:
                    item = ready.popleft()
                    self._take(item, points.attempt(item))
                self._send(last=not ready)
                # While points are ready to be looked at, take only answers that are there already; else wait for some.
                for answer in self.engine.answers(0.0 if ready else POLL):
                    ready += self._answered(answer)
                ready += self._from_others()
                self.claims.renew()
                for line in self.engine.news():
                    self.progress.say(line)
        finally:
            self.claims.close()
        return self.outcome

    def _take(self, item: pytest.Item, attempt: Attempt) -> None:
        """What came of a point: it waits for a task, or it is done."""
        if attempt.error:
            self.outcome.failed[item.name] = attempt.error
        elif attempt.needs is None:
            self.outcome.points += 1
        elif is_left(attempt.needs):
            self.outcome.left += 1
        else:
            self.tasks.setdefault(attempt.needs.key, Task(attempt.needs)).points.append(item)

    def _send(self, last: bool) -> None:
        """Send tasks while there is room, the longest path first; a timing when nothing else runs.

        Args:
            last: every point has been looked at, so that nothing else can be there to run before a timing.
        """
        while self.engine.room() > 0:
            running = [task for task in self.tasks.values() if task.sent]
            if any(task.alone for task in running):
                return
            waiting = [task for task in self.tasks.values() if not task.sent]
            together = [task for task in waiting if not task.alone]
            if not together and (running or not last):
                return
            ranked = sorted(together or waiting[:1], key=self._priority, reverse=True)
            # A claim may have become free because another sweep has just stored the result: look into the store again.
            task = next((t for t in ranked if self.claims.take(t.call.key) and not self._is_there(t)), None)
            if task is None:  # others compute what is left
                return
            task.sent = True
            self.engine.submit(self._parcel(task))

    def _is_there(self, task: Task) -> bool:
        if self.store.find(task.call) is None:
            return False
        self.claims.drop(task.call.key)
        return True

    def _priority(self, task: Task) -> float:
        """Seconds of the longest path that begins with a task."""
        return max(self.plan.remaining(item.nodeid) for item in task.points)

    def _parcel(self, task: Task) -> Parcel:
        parcel = pack(task.call, str(self.store.device), self._parts)
        if len(self._parts) > 1024:  # those of tasks that are done, most of them
            self._parts = dict(parcel.parts)
        return parcel

    def _answered(self, answer: Answer) -> list[pytest.Item]:
        """Store a result; the points that waited for it."""
        task = self.tasks.pop(answer.key)
        if answer.misfit:
            raise InputError(answer.error)
        kind = task.call.function.__name__
        if answer.made is None:
            self.claims.drop(answer.key)
            self.outcome.failed[f"{kind} {answer.key}"] = answer.error
            self.progress.say(f"{kind} {answer.key} failed: {answer.error.splitlines()[-1]}")
            return []
        self.store.add(task.call, answer.made)
        self.claims.drop(answer.key)
        self.outcome.done[kind] = self.outcome.done.get(kind, 0) + 1
        self.outcome.seconds[kind] = self.outcome.seconds.get(kind, 0.0) + answer.made.seconds
        expected = self.plan.finished(task.call, [item.nodeid for item in task.points])
        count, waiting = sum(self.outcome.done.values()), len(self.tasks)
        self.progress.done(expected, f"{count} results, {waiting} tasks out or waiting, {self.engine.workers} workers")
        return task.points

    def _from_others(self) -> list[pytest.Item]:
        """Points whose result another sweep has stored meanwhile."""
        if time.monotonic() - self._polled < POLL:
            return []
        self._polled = time.monotonic()
        found = [key for key, task in self.tasks.items() if not task.sent and self.store.has(task.call)]
        return [item for key in found for item in self.tasks.pop(key).points]


def summary(outcome: Outcome, wall: float) -> str:
    """A line on what was done."""
    work = sum(outcome.seconds.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(outcome.done.items()))
    computed = f"{sum(outcome.done.values())} results computed ({kinds})" if kinds else "every result was in the store"
    left = f"; {outcome.left} points that time this machine are left to pytest bench" if outcome.left else ""
    return f"{outcome.points} points whole, {computed}, {work:.0f} s of work in {wall:.0f} s{left}"
