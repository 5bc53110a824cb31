"""The store: what was computed once is found by its content, with the time and memory that it took."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import load, save
from torch import Tensor

from dipddpm.measure.content import describe_call, digest
from dipddpm.measure.files import write_atomically, write_text
from dipddpm.measure.instruments.machine import machine
from dipddpm.measure.instruments.memory import PeakMemory
from dipddpm.measure.instruments.timer import synchronised
from dipddpm.measure.record import MeasureError
from dipddpm.measure.stored_files import read_checked, written

SCHEMA = 2
LOCKED = 3600.0  # seconds that a process waits for another one to compute a result before it does so itself
USED_EVERY = 3600.0  # seconds; the time of last use is only this precise, since writing it at each use would cost much
LOCKS = 1024  # lock files of a store: two results that share one merely wait for each other
TENSOR, NUMBER = "$tensor", "$number"  # what stands in JSON for an array, and for a number that JSON does not have


class DamagedResult(UserWarning):
    """A stored result is not what was written; it is computed again."""


@dataclass(frozen=True)
class Call:
    """A call of a function: ``function(**arguments, **aside)``.

    Attributes:
        aside: arguments that decide nothing of the result.
        described: all that decides it, as JSON can hold it.
    """

    function: Callable[..., Mapping[str, object]]
    arguments: Mapping[str, object]
    aside: Mapping[str, object]
    described: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """Hash of all that decides the result."""
        return digest(self.described)


@dataclass(frozen=True)
class Made:
    """What a call returned, as it will be found, with the wall-clock seconds and the peak bytes that it took."""

    value: dict
    seconds: float
    memory: int


def make(call: Call, device: torch.device | str) -> Made:
    """Make a call and measure it.

    Raises:
        TypeError: a result that cannot be stored.
    """
    with PeakMemory(device) as peak:
        started = synchronised()
        value = call.function(**call.arguments, **call.aside)
        seconds = synchronised() - started
    return Made(_plain(value), seconds, peak.added)


@dataclass(frozen=True)
class Stored:
    """A stored result.

    Attributes:
        key: hash of all that decides it.
        value: what the function returned: a tree of dictionaries, lists, numbers, texts and tensors.
        seconds: wall-clock of computing it, once.
        memory: bytes it added at its peak.
        fresh: computed just now, not found.
    """

    key: str
    value: dict
    seconds: float
    memory: int
    fresh: bool


class Store:
    """Results under a folder, named by function and key. The JSON file is written last: a result without it does not
    exist.

    Both files of a result are known by their checksum. One that does not fit is named in a warning and computed again.
    Of several processes that want a result which is not there, one computes it and the others wait. The system frees
    the lock of a process that ends, however it ends. The time of a JSON file is when the result was last used.

    Args:
        root: the folder.
        device: where the work runs, for its memory and for the key.
        patience: seconds to wait for a process that computes the same result; then it is computed twice.
    """

    def __init__(self, root: Path, device: torch.device | str = "cpu", patience: float = LOCKED):
        self.root, self.device, self.patience = root, torch.device(device), patience
        self._holding = False

    def call(
        self, function: Callable, arguments: Mapping[str, object], aside: Mapping[str, object] | None = None
    ) -> Call:
        """``function(**arguments, **aside)`` as this store knows it.

        Raises:
            TypeError: an argument without content to be known by.
        """
        where = {"schema": SCHEMA, "device": self.device.type, "machine": machine()["id"]}
        return Call(function, arguments, aside or {}, describe_call(function, arguments) | where)

    def key(self, function: Callable, arguments: Mapping[str, object]) -> str:
        """The name of a result: the call by its content (:mod:`~dipddpm.measure.content`), and the machine (with its
        torch and number of threads) that it is computed and timed on."""
        return self.call(function, arguments).key

    def measured(
        self,
        function: Callable[..., Mapping[str, object]],
        arguments: Mapping[str, object],
        *,
        aside: Mapping[str, object] | None = None,
        run: Callable[[Callable[[], None]], object] = lambda work: work(),
    ) -> Stored:
        """The stored result of ``function(**arguments, **aside)``, or the call itself, timed and stored.

        Args:
            function: of a module; returns a dictionary of numbers, texts, tensors, lists and dictionaries of those.
            arguments: all that decides the result, besides the code.
            aside: arguments that decide nothing of it: a clock, what is told of the progress.
            run: calls the work it is handed exactly once; a benchmark fixture can stand in here.

        Raises:
            TypeError: an argument without content to be known by, or a result that cannot be stored.
        """
        call = self.call(function, arguments, aside)
        if found := self.find(call):
            return found
        before = _file_of(self._base(call))
        with self._alone(call.key):
            if _file_of(self._base(call)) != before and (found := self.find(call)):
                return found  # another process has made it meanwhile
            made: list[Made] = []
            run(lambda: made.append(make(call, self.device)))
            (result,) = made
            return self.add(call, result)

    def has(self, call: Call) -> bool:
        """Whether there is a result of a call, whole or not: costs no more than a look at the folder."""
        return self._base(call).with_suffix(".json").exists()

    def find(self, call: Call) -> Stored | None:
        """The stored result of a call; None where there is none, or one that is damaged."""
        return self._load(self._base(call))

    def add(self, call: Call, made: Made) -> Stored:
        """Keep what was made of a call, here or on another machine of the same kind."""
        result = Stored(call.key, made.value, made.seconds, made.memory, fresh=True)
        self._save(self._base(call), result, call.described)
        return result

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Within, no other process computes the result of that key: for as long as patience lasts.

        There is a fixed number of locks, so that their files do not pile up. A result may rest on others: a process
        that holds a lock waits for no further one, or two of them might wait for each other.
        """
        if self._holding:
            yield
            return
        lock = FileLock(self._lock_file(key), timeout=self.patience)
        try:
            lock.acquire()
        except Timeout:
            told = f"{key}: computed here too: another process has been at it for {self.patience:g} s"
            warnings.warn(told, stacklevel=4)
        except (NotImplementedError, OSError):  # a file system without locks: it is computed twice at worst
            pass
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
            lock.release()

    def _lock_file(self, key: str) -> Path:
        folder = self.root / ".locks"
        with suppress(OSError):  # a write says why
            folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{int(key, 16) % LOCKS:03x}.lock"

    def merge(self, other: Path) -> int:
        """Take over every whole result of another store that is not here; how many there were.

        Raises:
            MeasureError: there is no such folder.
        """
        if not other.is_dir():
            raise MeasureError(f"{other}: no such store")
        taken = 0
        for file in sorted(other.glob("*/*.json")):
            base = self.root / file.parent.name / file.stem
            if base.with_suffix(".json").exists() or not self._load(file.with_suffix("")):
                continue
            for suffix in (".safetensors", ".json"):  # the JSON last, as it is written
                if (source := file.with_suffix(suffix)).exists():
                    write_atomically(base.with_suffix(suffix), partial(shutil.copyfile, source))
            taken += 1
        return taken

    def _base(self, call: Call) -> Path:
        """Where the files of a result lie, without their suffix."""
        return self.root / call.function.__name__ / call.key

    @staticmethod
    def _save(base: Path, result: Stored, call: Mapping[str, Any]) -> None:
        arrays: dict[str, Tensor] = {}
        content: dict[str, object] = {"value": _packed(result.value, arrays, "value")}
        content |= {"seconds": result.seconds, "memory": result.memory, "call": call, "arrays": ""}
        if arrays:
            data = save({name: array.detach().cpu().contiguous() for name, array in arrays.items()})
            content["arrays"] = hashlib.sha256(data).hexdigest()
            write_atomically(base.with_suffix(".safetensors"), lambda partial: partial.write_bytes(data))
        write_text(base.with_suffix(".json"), written(content))

    def _load(self, base: Path) -> Stored | None:
        """The result if it is there and whole."""
        file = base.with_suffix(".json")
        try:
            content, arrays = read_checked(base)
            found = {name: array.to(self.device) for name, array in load(arrays).items()} if arrays else {}
            value = _unpacked(content["value"], found)
            with suppress(OSError):  # of others, or on a file system that cannot be written
                if time.time() - file.stat().st_mtime > USED_EVERY:
                    os.utime(file)
            return Stored(base.name, value, content["seconds"], content["memory"], fresh=False)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            if not file.exists():
                return None
            text_of = f"{file}: this stored result is damaged or incomplete; it is computed again"
            warnings.warn_explicit(text_of, DamagedResult, __package__ or __name__, 0)
            return None


def _file_of(base: Path) -> int:
    """The inode of the JSON file of a result, 0 if there is none. A write replaces the file, so that it changes."""
    try:
        return base.with_suffix(".json").stat().st_ino
    except OSError:
        return 0


def _plain(value: object) -> dict:
    """A result as it will be found: lists where there were tuples."""
    arrays: dict[str, Tensor] = {}
    packed = _packed(value, arrays, "value")
    if not isinstance(packed, dict):
        raise TypeError(f"a stored function returns a dictionary, not a {type(value).__name__}")
    return _unpacked(packed, arrays)


def _packed(value: object, arrays: dict[str, Tensor], name: str) -> object:
    """``value`` as strict JSON can hold it; its tensors go to ``arrays``."""
    if isinstance(value, Tensor):
        arrays[name] = value
        return {TENSOR: name}
    if isinstance(value, float) and not math.isfinite(value):
        return {NUMBER: str(value)}  # the score of a cell that diverged is a result too
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"{name}: the keys of a stored dictionary are texts")
        return {key: _packed(part, arrays, f"{name}.{key}") for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(part, arrays, f"{name}.{i}") for i, part in enumerate(value)]
    raise TypeError(f"{name}: a {type(value).__name__} cannot be stored")


def _unpacked(value: Any, arrays: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if set(value) == {TENSOR}:
            return arrays[value[TENSOR]]
        if set(value) == {NUMBER}:
            return float(value[NUMBER])
        return {key: _unpacked(part, arrays) for key, part in value.items()}
    return [_unpacked(part, arrays) for part in value] if isinstance(value, list) else value
