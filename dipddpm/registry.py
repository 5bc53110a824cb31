"""Families of interchangeable things: a file dropped into a family's folder is found, nothing is listed by hand."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import ClassVar, Protocol, TypeVar

from dipddpm.errors import InputError


class Named(Protocol):
    """A variant of a family: a class with a name."""

    name: ClassVar[str]


Variant = TypeVar("Variant", bound=Named)


@cache
def discover(package: ModuleType, base: type[Variant]) -> Mapping[str, type[Variant]]:
    """Every concrete subclass of ``base`` in the modules of ``package``, keyed by its ``name``, in order of name.

    Another distribution adds variants without a fork through the entry-point group that is named like the package,
    for example ``[project.entry-points."dipddpm.dip"]``.

    Raises:
        InputError: two variants of one family claim the same name.
    """
    candidates: list[object] = []
    for module_info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{module_info.name}")
        candidates += [thing for thing in vars(module).values() if getattr(thing, "__module__", "") == module.__name__]
    candidates += [entry.load() for entry in entry_points(group=package.__name__)]

    found: dict[str, type[Variant]] = {}
    for thing in candidates:
        if not (inspect.isclass(thing) and issubclass(thing, base)) or inspect.isabstract(thing):
            continue
        if found.setdefault(thing.name, thing) is not thing:
            raise InputError(f"{package.__name__}: {found[thing.name]} and {thing} are both named {thing.name!r}")
    return dict(sorted(found.items()))


def choose(kind: str, name: str, allowed: Iterable[str]) -> str:
    """``name`` itself if it is allowed.

    Raises:
        InputError: it is not; the message lists what is.
    """
    allowed = list(allowed)
    if name not in allowed:
        raise InputError(f"unknown {kind} {name!r}: choose from {', '.join(allowed)}")
    return name
