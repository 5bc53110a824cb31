"""What a worker does with a parcel: the same call, on a machine of the same kind, by the same code."""

from __future__ import annotations

import os
import platform
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from dipddpm.errors import InputError
from dipddpm.measure.content import describe_call
from dipddpm.measure.instruments.allocator import keep_freed
from dipddpm.measure.instruments.machine import decides_numbers, use_threads
from dipddpm.measure.store import Made, make
from dipddpm.measure.time_limit import TookTooLong, limited
from dipddpm.sweep.parcels import Unpacker

UNPACKER = Unpacker()


class Misfit(Exception):
    """This worker would compute other numbers: another kind of machine, or other code."""


@dataclass(frozen=True)
class Terms:
    """What every worker of a sweep is told.

    Attributes:
        numbers: what of the driver's machine decides how numbers are rounded.
        threads: to compute with.
        limit: seconds that a task may take, 0 for no limit.
    """

    numbers: Mapping[str, Any]
    threads: int = 1
    limit: float = 0.0


@dataclass(frozen=True)
class Answer:
    """What became of a parcel.

    Attributes:
        key: of the call; made: its result, None where it has none.
        error: why it has none, the traceback of the worker; misfit: the worker is of another kind than the driver, and
            the same call would fail on it again.
        where: host and process that did it.
    """

    key: str
    made: Made | None = None
    error: str = ""
    misfit: bool = False
    where: str = ""


def here() -> str:
    """This process, for people: ``node-3, process 4711``."""
    return f"{platform.node()}, process {os.getpid()}"


def answer(key: str, content: bytes, part: Callable[[str], bytes], terms: Terms) -> Answer:
    """Do the work of a parcel.

    Args:
        part: gives the bytes of a part of it that this process lacks.
    """
    try:
        _begin(terms.threads)
        _check_machine(terms.numbers)
        call, device = UNPACKER.unpack(content, part)
        code = describe_call(call.function, call.arguments)
        if any(call.described[name] != of for name, of in code.items()):
            raise Misfit(f"{here()}: the code here is not that of the driver: install the same version on every node")
        with limited(terms.limit):
            made = make(call, device)
        return Answer(key, made, where=here())
    except Misfit as error:
        return Answer(key, error=str(error), misfit=True, where=here())
    except InputError as error:
        return Answer(key, error=str(error), where=here())
    except TookTooLong:
        long = f"took longer than {terms.limit:g} s; `--task-timeout SECONDS` sets the limit, 0 takes it away"
        return Answer(key, error=f"{long}. It was here:\n{traceback.format_exc().strip()}", where=here())
    except Exception:
        return Answer(key, error=traceback.format_exc().strip(), where=here())


@cache
def _begin(threads: int) -> None:
    """Once a process: what a session does when it begins."""
    keep_freed()
    use_threads(threads)


def _check_machine(numbers: Mapping[str, Any]) -> None:
    mine = decides_numbers()
    for name, value in numbers.items():
        if mine[name] != value:
            raise Misfit(
                f"{here()}: its {name} is {mine[name]!r} and the driver's {value!r}, so that its numbers would be "
                f"others than those of a run there: start the sweep on a machine of the same kind as its workers"
            )
