"""What a sweep asks of an engine: to take parcels while there is room, and to give answers in any order."""

from __future__ import annotations

from typing import Protocol

from dipddpm.sweep.parcels import Parcel
from dipddpm.sweep.worker import Answer

ATTEMPTS = 4
"""Workers that may die of one task before it is given up: of what is killed, most is no fault of the task."""


class Engine(Protocol):
    """Workers on one machine or many. If a worker dies, the engine gives its task to another worker."""

    @property
    def workers(self) -> int:
        """How many tasks run at once, by what is there now."""
        ...

    def room(self) -> int:
        """How many more tasks it takes now."""
        ...

    def submit(self, parcel: Parcel) -> None:
        """Take a task."""
        ...

    def answers(self, seconds: float) -> list[Answer]:
        """What is done, waiting for at most so many seconds until something is."""
        ...

    def news(self) -> list[str]:
        """Lines for people, each told once: a worker that died, a node that is gone."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...
