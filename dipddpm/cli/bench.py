"""``dipddpm bench``: the suites, from any folder. What it does not know it hands to pytest."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Sequence
from pathlib import Path

from dipddpm.measure.exit_codes import BAD_INPUT
from dipddpm.registry import choose
from dipddpm.session.suite_files import suites, suites_folder

CONFIGURATION = Path(__file__).with_name("bench.ini")
PLUGINS = ("dipddpm.session.plugin", "dipddpm.session.suites")
LOCAL = Path("conftest.py")


def run(args: argparse.Namespace) -> int:
    """Run the suites; the exit code is one of ``measure.exit_codes``."""
    options = [option for option in args.options if option != "--"]
    if options[:1] == ["--list"]:
        for name, file in suites().items():
            print(f"{name:<16} {_question(file)}")
        return 0
    import pytest  # imported here: --list needs none

    named = 0
    while named < len(options) and not options[named].startswith("-"):
        named += 1
    files = [str(_suite(name)) for name in options[:named]] or [str(suites_folder())]
    session = _Session()
    code = pytest.main([*session_arguments(files), *options[named:]], plugins=[session])
    return int(code) if session.began else BAD_INPUT  # options that pytest does not know: its own code says undecided


def session_arguments(files: Sequence[str] = ()) -> list[str]:
    """What pytest is told to run suites from any folder; all of them by default."""
    files = files or [str(suites_folder())]
    plugins = [*PLUGINS, *_local_variants(Path(files[0]))]
    loaded = [word for plugin in plugins for word in ("-p", plugin)]
    return [*files, "-c", str(CONFIGURATION), "--rootdir", str(Path.cwd()), *loaded]


class _Session:
    """Whether pytest understood its options, so that a session began."""

    began = False

    def pytest_cmdline_main(self) -> None:
        self.began = True


def _suite(name: str) -> Path:
    """The suite of that name, or one that the user wrote, by its path."""
    own = Path(name.split("::")[0])
    return Path(name) if own.exists() and own.name != name.removeprefix("bench_") else _shipped(name)


def _shipped(name: str) -> Path:
    return suites()[choose("suite", name.removeprefix("bench_").removesuffix(".py"), suites())]


def _question(file: Path) -> str:
    """The question that a suite asks: the first line of its docstring."""
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def _local_variants(suite: Path) -> list[str]:
    """``conftest`` where the current folder has one that pytest would not load by itself, as the suites lie elsewhere.

    It is where another repository registers its own variants.
    """
    here = Path.cwd()
    if not LOCAL.is_file() or here in suite.resolve().parents:
        return []
    sys.path.insert(0, str(here))
    return [LOCAL.stem]
