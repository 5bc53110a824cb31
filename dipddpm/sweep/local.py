"""The engine of one machine: processes that are spawned here, each with threads of its own."""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from dipddpm.sweep.engine import ATTEMPTS
from dipddpm.sweep.parcels import Parcel
from dipddpm.sweep.worker import Answer, Terms, answer

THREADS_OF = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SHORT = 1.0
"""Seconds. Behind a task of a kind that takes less on average, another one may wait in the worker, which then need not
wait for the driver between the two. Behind a longer one it would come too late if other workers are free before."""
SMALL = 32 * 1024
"""Bytes of a task that may wait there: they lie in the pipe, so that the driver never blocks in sending them."""


class LocalEngine:
    """So many processes on this machine."""

    def __init__(self, workers: int, terms: Terms):
        self.terms = terms
        self._paces: dict[str, tuple[int, float]] = {}  # {kind of task: how many were done, seconds of all of them}
        self._waiting: deque[Parcel] = deque()
        self._died: dict[str, int] = {}
        self._news: list[str] = []
        self._workers = [_Worker(terms) for _ in range(workers)]

    @property
    def workers(self) -> int:
        return len(self._workers)

    def room(self) -> int:
        return sum(self._takes(worker) for worker in self._workers) - len(self._waiting)

    def submit(self, parcel: Parcel) -> None:
        self._waiting.append(parcel)
        self._hand_out()

    def answers(self, seconds: float) -> list[Answer]:
        busy = {worker.connection: worker for worker in self._workers if worker.tasks}
        done = []
        if not busy:
            time.sleep(seconds)
        for ready in wait(list(busy), seconds) if busy else ():
            assert isinstance(ready, Connection)
            if found := self._heard(busy[ready]):
                done.append(found)
        self._hand_out()
        return done

    def news(self) -> list[str]:
        told, self._news = self._news, []
        return told

    def close(self) -> None:
        for worker in self._workers:
            worker.end()

    def _takes(self, worker: _Worker) -> bool:
        """Whether a worker can be given a task: it has none, or a single one that is over soon."""
        return not worker.tasks or (len(worker.tasks) == 1 and self._is_short(worker.tasks[0]))

    def _is_short(self, parcel: Parcel) -> bool:
        count, seconds = self._paces.get(parcel.kind, (0, 0.0))
        return bool(count) and seconds / count < SHORT

    def _hand_out(self) -> None:
        idle = [worker for worker in self._workers if not worker.tasks]
        for worker in [*idle, *(worker for worker in self._workers if worker.tasks)]:
            if self._waiting and self._takes(worker) and (not worker.tasks or len(self._waiting[0].content) <= SMALL):
                self._give(worker, self._waiting.popleft())

    def _give(self, worker: _Worker, parcel: Parcel) -> None:
        try:
            worker.take(parcel)
        except OSError:
            self._waiting.appendleft(parcel)
            if not worker.tasks:  # it died with nothing to do; else its answer, or the lack of one, tells
                self._workers[self._workers.index(worker)] = _Worker(self.terms)

    def _heard(self, worker: _Worker) -> Answer | None:
        """What a worker says of the first of its tasks; None where it wants something, or is dead and replaced."""
        parcel = worker.tasks[0]
        try:
            said = _receive(worker.connection)
            if isinstance(said, list):
                _send(worker.connection, [parcel.parts[name] for name in said])
                return None
        except (EOFError, OSError):
            return self._replaced(worker)
        worker.tasks.popleft()
        if said.made:
            count, seconds = self._paces.get(parcel.kind, (0, 0.0))
            self._paces[parcel.kind] = count + 1, seconds + said.made.seconds
        return said

    def _replaced(self, worker: _Worker) -> Answer | None:
        """Start another worker in the place of a dead one, with its tasks; after some deaths, give the first one up,
        which it was doing."""
        worker.end()
        code = worker.process.exitcode
        self._workers[self._workers.index(worker)] = _Worker(self.terms)
        parcel, *behind = worker.tasks
        self._waiting.extendleft(reversed(behind))
        self._died[parcel.key] = died = self._died.get(parcel.key, 0) + 1
        what = f"a worker died of {parcel.kind} {parcel.key} (exit code {code})"
        if died == ATTEMPTS:
            return Answer(
                parcel.key, error=f"{what}, the {died}th one: is there too little memory for so many workers?"
            )
        self._news.append(f"{what}; another one does it")
        self._waiting.appendleft(parcel)
        return None


class _Worker:
    """A process, the connection to it, and its tasks: what it does, and at most one that waits for its end."""

    def __init__(self, terms: Terms):
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, terms), daemon=True)
        with _environment(dict.fromkeys(THREADS_OF, str(terms.threads))):
            self.process.start()
        theirs.close()
        self.tasks: deque[Parcel] = deque()

    def take(self, parcel: Parcel) -> None:
        _send(self.connection, (parcel.key, parcel.content))
        self.tasks.append(parcel)

    def end(self) -> None:
        """Whatever it does: what it would give back is computed again."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def _work(connection: Connection, terms: Terms) -> None:
    """The life of a worker: it ends with its driver, even if that one is killed."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()

    sent: deque[tuple[str, bytes]] = deque()  # a task that came while another one was done

    def part(name: str) -> bytes:
        _send(connection, [name])
        while not isinstance(said := _receive(connection), list):
            sent.append(said)
        (found,) = said
        return found

    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            key, content = sent.popleft() if sent else _receive(connection)
            _send(connection, answer(key, content, part, terms))


def _send(connection: Connection, value: object) -> None:
    """By value. ``connection.send`` has a tensor fetched from the memory of its process, over a socket for each tensor:
    what a worker said last would be lost if it died of the next task."""
    connection.send_bytes(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


def _receive(connection: Connection) -> Any:
    return pickle.loads(connection.recv_bytes())


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
