"""Where the suites lie: in the package where it was installed, at the top of the repository where it was not."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dipddpm
from dipddpm.errors import InputError

RECORDS = {"record", "record_cell", "restored"}
"""Fixtures that make records: a suite with none of them draws figures alone."""


def suites_folder() -> Path:
    """The folder of the suites.

    Raises:
        InputError: it is in neither place.
    """
    package = Path(dipddpm.__file__).parent
    for folder in (package / "bench_suites", package.parent / "bench"):
        if (folder / "bench_controls.py").is_file():
            return folder
    raise InputError(f"{package}: its suites are missing; install the package again")


def suites() -> dict[str, Path]:
    """{name: file} of every suite: ``controls`` is ``bench_controls.py``."""
    return {file.stem.removeprefix("bench_"): file for file in sorted(suites_folder().glob("bench_*.py"))}


def code_of_suites() -> dict[str, str]:
    """{module: hash of its code} of every suite, as a run has it under ``origins``."""
    from dipddpm.measure.content import own_digest  # imported here: it needs torch, and a list of suites does not

    with _importable():
        return {file.stem: own_digest(file.stem) for file in suites().values()}


def recording_suites() -> Iterator[str]:
    """Modules of the suites that record something whenever the whole of the suites runs: none that skips by itself."""
    for file in suites().values():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        code = ast.unparse(tree)
        taken = {
            argument.arg
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("bench_")
            for argument in node.args.args
        }
        if taken & RECORDS and "asked_for" not in code and "pytest.skip(" not in code:
            yield file.stem


@contextmanager
def _importable() -> Iterator[None]:
    """The folder of the suites on Python's path, where nothing but their source is looked up."""
    folder = str(suites_folder())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
