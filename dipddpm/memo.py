"""What the experiment asks of whoever keeps its results: find it by its content, or compute and keep it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import Tensor

Run = Callable[[Callable[[], None]], object]
"""Calls the work it is handed exactly once; a benchmark fixture can stand in here."""


def direct(work: Callable[[], None]) -> None:
    """The plainest ``Run``."""
    work()


class Entry(Protocol):
    """What ``memo`` gives back: numbers and texts, arrays, wall-clock seconds and peak bytes of computing them."""

    @property
    def info(self) -> Mapping: ...
    @property
    def tensors(self) -> Mapping[str, Tensor]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def memory(self) -> int: ...


class Memo(Protocol):
    """``memo(kind, config, sources, compute, run)``: the stored entry, or ``run`` of ``compute``, stored."""

    def __call__(
        self,
        kind: str,
        config: Mapping[str, object],
        sources: Sequence[object],
        compute: Callable[[], tuple[Mapping[str, object], Mapping[str, Tensor]]],
        run: Run = ...,
    ) -> Entry: ...
