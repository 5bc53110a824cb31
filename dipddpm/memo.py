"""What experiments ask of whoever keeps their results: find the result of a call by its content, or make the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

Execute = Callable[[Callable[[], None]], object]
"""Calls the work it is handed exactly once; a benchmark fixture can stand in here."""


def direct(work: Callable[[], None]) -> None:
    """The plainest ``Execute``."""
    work()


class Found(Protocol):
    """What ``memo`` gives back: what the function returned, and the wall-clock seconds and peak bytes that it took."""

    @property
    def value(self) -> Mapping[str, Any]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def memory(self) -> int: ...


class Memo(Protocol):
    """``memo(function, arguments)``: the stored result of ``function(**arguments)``, or ``run`` of the call, stored.

    ``arguments`` are all that decides the result, besides the code; ``aside`` are further arguments that do not (a
    clock, what is told of the progress).
    """

    def __call__(
        self,
        function: Callable[..., Mapping[str, object]],
        arguments: Mapping[str, object],
        *,
        aside: Mapping[str, object] | None = ...,
        run: Execute = ...,
    ) -> Found: ...
