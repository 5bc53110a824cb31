"""The engine of one machine: processes that are spawned here, each with threads of its own."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait

from dipddpm.sweep.engine import ATTEMPTS
from dipddpm.sweep.parcels import Parcel
from dipddpm.sweep.worker import Answer, Terms, answer

THREADS_OF = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class LocalEngine:
    """So many processes on this machine."""

    def __init__(self, workers: int, terms: Terms):
        self.terms = terms
        self._waiting: deque[Parcel] = deque()
        self._died: dict[str, int] = {}
        self._news: list[str] = []
        self._workers = [_Worker(terms) for _ in range(workers)]

    @property
    def workers(self) -> int:
        return len(self._workers)

    def room(self) -> int:
        return sum(worker.task is None for worker in self._workers) - len(self._waiting)

    def submit(self, parcel: Parcel) -> None:
        self._waiting.append(parcel)
        self._hand_out()

    def answers(self, seconds: float) -> list[Answer]:
        busy = {worker.connection: worker for worker in self._workers if worker.task}
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

    def _hand_out(self) -> None:
        for i, worker in enumerate(self._workers):
            if worker.task is None and self._waiting:
                parcel = self._waiting.popleft()
                try:
                    worker.take(parcel)
                except OSError:  # it died with nothing to do
                    self._workers[i] = _Worker(self.terms)
                    self._waiting.appendleft(parcel)

    def _heard(self, worker: _Worker) -> Answer | None:
        """What a worker says; None where it wants something, or is dead and replaced."""
        parcel = worker.task
        assert parcel
        try:
            said = worker.connection.recv()
            if isinstance(said, list):
                worker.connection.send([parcel.parts[name] for name in said])
                return None
        except (EOFError, OSError):
            return self._replaced(worker, parcel)
        worker.task = None
        return said

    def _replaced(self, worker: _Worker, parcel: Parcel) -> Answer | None:
        """Start another worker in the place of a dead one, with its task; after some deaths, give the task up."""
        worker.end()
        code = worker.process.exitcode
        self._workers[self._workers.index(worker)] = _Worker(self.terms)
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
    """A process, the connection to it and what it does."""

    def __init__(self, terms: Terms):
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, terms), daemon=True)
        with _environment(dict.fromkeys(THREADS_OF, str(terms.threads))):
            self.process.start()
        theirs.close()
        self.task: Parcel | None = None

    def take(self, parcel: Parcel) -> None:
        self.connection.send((parcel.key, parcel.content))
        self.task = parcel

    def end(self) -> None:
        """Whatever it does: what it would give back is computed again."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def _work(connection: Connection, terms: Terms) -> None:
    """The life of a worker: it ends with its driver, even if that one is killed."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()

    def part(name: str) -> bytes:
        connection.send([name])
        (found,) = connection.recv()
        return found

    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            key, content = connection.recv()
            connection.send(answer(key, content, part, terms))


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
