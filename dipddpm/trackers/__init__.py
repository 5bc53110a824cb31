"""Trackers: where a run or a training is followed besides its own files. One file each, by the tracker's own client.

A tracker is handed numbers, texts and files when they are there already, and computes nothing. Its client is imported
when it is opened, and not before.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from dipddpm.errors import InputError
from dipddpm.registry import discover


class Tracker(ABC):
    """One run in a tracker.

    Class attributes:
        name: of its option, ``--NAME WHERE``.
        takes: what WHERE is, in capitals for the help; meaning: the same in words.
        needs: module of its client; extra: of this distribution that installs it.
        live: what it is handed has arrived when the call returns. One that sends from a thread or a process of its own
            would work beside the next measurement, and is handed everything at the end of a session.

    Args:
        where: what follows its option.
        title: of the run.
    """

    name: ClassVar[str]
    takes: ClassVar[str]
    meaning: ClassVar[str]
    needs: ClassVar[str]
    extra: ClassVar[str]
    live: ClassVar[bool] = True

    @abstractmethod
    def __init__(self, where: str, title: str): ...

    @abstractmethod
    def settings(self, values: Mapping[str, str]) -> None:
        """What was run: names and values."""

    @abstractmethod
    def numbers(self, values: Mapping[str, float], step: int) -> None:
        """Numbers by name at a step (a budget, an update). Names are paths: ``quality/inpaint/noise/psnr``."""

    @abstractmethod
    def texts(self, values: Mapping[str, str]) -> None:
        """Texts by name, as Markdown."""

    @abstractmethod
    def files(self, paths: Sequence[Path]) -> None:
        """Files that belong to the run."""

    @abstractmethod
    def close(self) -> None:
        """Nothing more comes; what was handed over is delivered."""


def trackers() -> Mapping[str, type[Tracker]]:
    """Every tracker, by name."""
    return discover(sys.modules[__name__], Tracker)


class Followers:
    """Several trackers as one. None of them can break the work: one that fails is named once and then left out."""

    def __init__(self, opened: Sequence[Tracker]):
        self.opened = list(opened)

    def tell(self, say: Callable[[Tracker], object], live: bool | None = None) -> None:
        """Hand something to each tracker, or to those alone that are live, or are not."""
        for tracker in list(self.opened):
            if live not in (None, tracker.live):
                continue
            try:
                say(tracker)
            except Exception as error:  # of whatever client, server or network
                self.opened.remove(tracker)
                why = " ".join(f"{type(error).__name__}: {error}".split())
                print(f"dipddpm: --{tracker.name}: not tracked any more ({why:.200})", file=sys.stderr)

    def close(self) -> None:
        """End the run in every tracker."""
        self.tell(lambda tracker: tracker.close())
        self.opened.clear()


def check_given(given: Mapping[str, object]) -> None:
    """Say before any work that the client of a tracker that was asked for is missing.

    Args:
        given: values of options by their names, those of other things too.

    Raises:
        InputError: it is not installed; the message says how to get it.
    """
    for name, kind in trackers().items():
        if given.get(name) and find_spec(kind.needs) is None:
            raise InputError(f"--{name}: {kind.needs} is not installed: pip install 'dipddpm[{kind.extra}]'")


def open_trackers(given: Mapping[str, object], title: str) -> Followers:
    """The trackers that options ask for, opened.

    Raises:
        InputError: a client is missing, or refuses what its option says.
    """
    check_given(given)
    opened = []
    for name, kind in trackers().items():
        if where := given.get(name):
            try:
                opened.append(kind(str(where), title))
            except Exception as error:  # of whatever client
                why = " ".join(str(error).split())
                raise InputError(f"--{name} {where}: cannot be opened ({why:.200})") from error
    return Followers(opened)


@contextmanager
def following(given: Mapping[str, object], title: str) -> Iterator[Followers]:
    """:func:`open_trackers`, closed however the work ends."""
    followers = open_trackers(given, title)
    try:
        yield followers
    finally:
        followers.close()
