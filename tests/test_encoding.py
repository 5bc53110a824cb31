"""Text files are UTF-8, whatever the locale: every place that reads or writes one says so."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*(ROOT / "dipddpm").rglob("*.py"), *(ROOT / "bench").rglob("*.py"), ROOT / "conftest.py"])


def without_encoding(source):
    """The lines of calls that take the encoding of the locale."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        method = isinstance(call.func, ast.Attribute)
        modes = [
            value.value
            for value in (*call.args[:2], given.get("mode"))
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and set(value.value) <= set("rwxabt+")
        ]
        text_method = method and name in ("read_text", "write_text")
        text_file = name == "open" and (bool(modes) or not method) and not any("b" in mode for mode in modes)
        text_process = "text" in given or "universal_newlines" in given
        if (text_method or text_file or text_process) and "encoding" not in given:
            yield call.lineno


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_text_files_are_utf8(file):
    assert not list(without_encoding(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("path.read_text()", True),
        ("path.write_text(text)", True),
        ("open(path)", True),
        ("path.open('w')", True),
        ("subprocess.run(command, text=True)", True),
        ("path.read_text(encoding='utf-8')", False),
        ("open(path, 'rb')", False),
        ("path.open('rb')", False),
        ("Image.open(path)", False),
        ("gate.open()", False),
        ("files.save(path, text)", False),
    ],
)
def test_it_finds_what_it_looks_for(source, found):
    assert bool(list(without_encoding(source))) == found
