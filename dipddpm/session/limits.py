"""How long a cell may take, and in which order cells run, so that a variant that hangs loses only its own cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

import pytest

from dipddpm.dip import architectures
from dipddpm.fitting import fitting_methods
from dipddpm.injection import injections
from dipddpm.measure.time_limit import LONGEST, seconds
from dipddpm.metrics import metrics
from dipddpm.priors import priors
from dipddpm.stopping import stopping_rules
from dipddpm.tasks import tasks

FAMILIES = (architectures, fitting_methods, injections, metrics, priors, stopping_rules, tasks)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("dipddpm").addoption(
        "--cell-timeout", type=seconds, default=LONGEST, metavar="SECONDS",
        help="what a cell may take; then it fails, and the others go on. 0 for no limit (default: %(default)s)",
    )  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each cell its limit, and put what is of other distributions last."""
    limit, cells = config.getoption("cell_timeout"), [item for item in items if _is_cell(item)]
    if limit and cells and config.pluginmanager.hasplugin("timeout"):
        for item in cells:
            # A signal interrupts Python in the main thread and leaves the session alive. It cannot interrupt code in C
            # that never returns.
            item.add_marker(pytest.mark.timeout(limit, method="signal"))
    if cells and (names := foreign()):
        items.sort(key=lambda item: _is_cell(item) and bool(names & set(_names(_point(item)))))


def foreign() -> frozenset[str]:
    """Names of the variants that come from other distributions, or were registered by a ``conftest.py``."""
    every = [(name, kind) for family in FAMILIES for name, kind in family().items()]
    return frozenset(name for name, kind in every if not kind.__module__.startswith("dipddpm."))


def _is_cell(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and bool({"record", "run_once"} & set(item.fixturenames))


def _point(item: pytest.Item) -> Mapping[str, object]:
    call = getattr(item, "callspec", None)
    return {name: value for name, value in call.params.items() if name != "experiments"} if call else {}


def _names(value: object) -> Iterator[str]:
    """Names of variants in a point of a suite: texts, variants, and what arms and recipes hold."""
    if isinstance(value, str):
        yield value.partition(":")[0]
        return
    if isinstance(name := getattr(value, "name", None), str):
        yield name
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for part in value:
            yield from _names(part)
    elif is_dataclass(value) and not isinstance(value, type):
        for column in fields(value):
            yield from _names(getattr(value, column.name))
