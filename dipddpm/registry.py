"""Families of interchangeable things: a file dropped into a family's folder is found, nothing is listed by hand."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
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


class Comparable:
    """A variant that is known by its class and by what it holds: two that hold the same are equal."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


_REGISTERED: dict[str, list[type]] = {}


def register(variant: type[Variant]) -> type[Variant]:
    """Add a variant of this process to its family; a decorator for a ``conftest.py`` or a notebook.

    A distribution had better use an entry point, which is found without anything being imported first.

    Raises:
        InputError: a class that belongs to no family.
    """
    for base in variant.__mro__[1:]:
        family = sys.modules.get(base.__module__)
        if base.__module__.count(".") == 1 and base.__module__.startswith("dipddpm.") and hasattr(family, "__path__"):
            _REGISTERED.setdefault(base.__module__, []).append(variant)
            discover.cache_clear()
            return variant
    raise InputError(f"{variant.__name__} belongs to no family: derive it from DeepImagePrior, Prior, Metric, ...")


@cache
def discover(package: ModuleType, base: type[Variant]) -> Mapping[str, type[Variant]]:
    """Every concrete subclass of ``base`` in the modules of ``package``, keyed by its ``name``, in order of name.

    Another distribution adds variants without a fork through the entry-point group that is named like the package,
    for example ``[project.entry-points."dipddpm.dip"]``. :func:`register` adds one for this process alone.

    Raises:
        InputError: two variants of one family claim the same name.
    """
    candidates: list[object] = []
    for module_info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{module_info.name}")
        candidates += [thing for thing in vars(module).values() if getattr(thing, "__module__", "") == module.__name__]
    candidates += [entry.load() for entry in entry_points(group=package.__name__)]
    candidates += _REGISTERED.get(package.__name__, [])

    found: dict[str, type[Variant]] = {}
    for thing in candidates:
        if not (inspect.isclass(thing) and issubclass(thing, base)) or inspect.isabstract(thing):
            continue
        if found.setdefault(thing.name, thing) is not thing:
            raise InputError(f"{package.__name__}: {found[thing.name]} and {thing} are both named {thing.name!r}")
    return dict(sorted(found.items()))


def modules(package: str, folder: Iterable[str]) -> list[str]:
    """Names of the modules that variants of a family are written in, those of other distributions included; nothing is
    imported.

    Args:
        package: the family, such as ``dipddpm.extractors``; folder: its ``__path__``.
    """
    own = [f"{package}.{module.name}" for module in pkgutil.iter_modules(list(folder))]
    return sorted({*own, *(entry.module for entry in entry_points(group=package))})


def choose(kind: str, name: str, allowed: Iterable[str]) -> str:
    """``name`` itself if it is allowed.

    Raises:
        InputError: it is not; the message lists what is.
    """
    allowed = list(allowed)
    if name not in allowed:
        raise InputError(f"unknown {kind} {name!r}: choose from {', '.join(allowed)}")
    return name
