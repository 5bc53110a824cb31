"""What a stored result is known by: values and code, never words, and nobody lists them by hand."""

import ast
import hashlib
import importlib
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from dipddpm.dip.skip import SkipNet
from dipddpm.experiments.cells import run_arm
from dipddpm.fitting import fit_observations, fitting_method
from dipddpm.injection import injection
from dipddpm.measure import content
from dipddpm.measure.content import describe_call, digest, modules_of_call, own_digest, source_digest, tensor_digest
from dipddpm.restore import Setting
from dipddpm.rng import ImageRng
from dipddpm.tasks import task


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules, one importing the other, and two that stand alone."""
    folder = tmp_path / "planted_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "base.py").write_text("def half(x):\n    return x / 2\n")
    (folder / "top.py").write_text(
        "from typing import TYPE_CHECKING\n\nfrom planted_package.base import half\n\n"
        "if TYPE_CHECKING:\n    from planted_package.types import T\n\n"
        "def quarter(x):\n    return half(half(x))\n"
    )
    (folder / "alone.py").write_text("def one():\n    return 1\n")
    (folder / "types.py").write_text("T = int\n")
    monkeypatch.syspath_prepend(tmp_path)

    def digest_now(of=lambda name: source_digest([sys.modules[name].quarter])):
        for name in [n for n in sys.modules if n.startswith("planted_package")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        content._source.cache_clear()
        return of(importlib.import_module("planted_package.top").__name__)

    return folder, digest_now


def test_source_digest_follows_imports_and_ignores_words(package):
    folder, now = package
    before = now()
    (folder / "base.py").write_text('def half(x):\n    """Half of x."""\n    return x / 2  # why not\n')
    assert now() == before, "a comment threw away results"
    for name, text in (("alone", "def one():\n    return 2\n"), ("types", "T = float\n")):
        (folder / f"{name}.py").write_text(text)
        assert now() == before, "a module that is not imported counts"
    (folder / "base.py").write_text("def half(x):\n    return x / 3\n")
    assert now() != before, "a change of the code kept old results"


def test_a_package_that_is_imported_from_counts_with_its_own_code(package):
    folder, now = package
    before = now()
    (folder / "__init__.py").write_text("import planted_package.alone\n")
    assert now() != before


def test_a_module_that_is_imported_late_is_found_without_importing_it(package):
    folder, now = package
    (folder / "top.py").write_text("def quarter(x):\n    from planted_package import alone\n    return alone.one()\n")
    before = now()
    assert "planted_package.alone" not in sys.modules
    (folder / "alone.py").write_text("def one():\n    return 2\n")
    assert now() != before


def test_the_code_of_a_suite_is_not_that_of_what_it_measures(package):
    folder, now = package
    before = now(own_digest)
    (folder / "base.py").write_text("def half(x):\n    return x / 3\n")
    assert now(own_digest) == before
    (folder / "top.py").write_text("def quarter(x):\n    return x / 4\n")
    assert now(own_digest) != before


def test_the_code_of_a_fit_is_not_that_of_a_table():
    observation = task("inpaint").observe(torch.zeros(1, 3, 32, 32), ImageRng([0]))
    call = {"architecture": SkipNet, "observation": observation, "method": fitting_method("plain")}
    found = modules_of_call(fit_observations, call)
    assert {"dipddpm.stacking", "dipddpm.rng", "dipddpm.dip.skip", "dipddpm.tasks.inpaint"} <= found
    assert not any(n.startswith(("dipddpm.measure", "dipddpm.experiments", "dipddpm.restore")) for n in found)


def known(**arguments):
    return digest(describe_call(run_arm, arguments))


class Plain:
    """Holds what it is given."""

    def __init__(self, **held):
        vars(self).update(held)


@dataclass(frozen=True)
class Box:
    inside: object


def test_values_are_told_apart():
    x = torch.zeros(2, 3)
    different = [
        None, 0, 0.0, 1, 1.0, True, "1", "", (), {}, [1, 2], {"a": 1}, {"a": 2}, {"b": 1}, x, x.T, x.double(), x + 1,
        Box(1), Box(2), Box(x), Box(Box(1)), Plain(inside=1), Plain(inside=2), Plain(other=1), SkipNet, Box, run_arm,
        Setting(1), Setting(2), Setting(1, injection("start"), 5), Setting(1, injection("raw"), 5), torch.float32,
        torch.float64, torch.device("cpu"), torch.device("cuda"), float("nan"), float("inf"),
    ]  # fmt: skip
    keys = [known(value=value) for value in different]
    assert len(set(keys)) == len(keys)
    assert known(a=1, b=2) == known(b=2, a=1) != known(a=2, b=1)
    assert known(v=(1, 2)) == known(v=[1, 2]), "a list from a file is the tuple that was written"
    assert known(v=x) == known(v=x.clone()) and known(v=Box(x)) == known(v=Box(x.clone()))
    assert known(v={"a": 1, "b": 2}) == known(v={"b": 2, "a": 1}) and known(v={1, 2}) == known(v={2, 1})


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (Path("images"), "v: a PosixPath"),
        (lambda: 1, r"v: .*<lambda>"),
        ([1, {"deep": nn.Linear(1, 1)}], r"v\[1\]\['deep'\]: a Linear"),
        (Box(Path("x")), r"v\.inside: a PosixPath"),
        (object(), "v: a object"),
        (partial(print, 1), "v: a partial"),
        (iter([1]), "v: a list_iterator"),
    ],
    ids=["path", "lambda", "network", "inside", "object", "partial", "iterator"],
)
def test_what_has_no_content_is_refused_by_name(value, what):
    with pytest.raises(TypeError, match=f"{what} has no content to be known by"):
        known(v=value)


def test_a_fingerprint_stands_for_what_an_object_holds():
    one, same, other = (Plain(fingerprint=f, network=nn.Linear(1, 1)) for f in ("a", "a", "b"))
    assert known(v=one) == known(v=same) != known(v=other)


def test_digests():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
    x = torch.zeros(2, 3)
    assert tensor_digest(x) == tensor_digest(x.clone())
    assert len({tensor_digest(t) for t in (x, x.reshape(3, 2), x.double(), x + 1)}) == 4


def test_code_is_known_alike_by_every_version_of_python():
    """3.12 gave functions and classes a field of type parameters, which is empty in nearly all code."""
    source = "class A:\n    def f(self, x=None):\n        return [x, None, 'a', 1.5]\n"
    before = content._written(ast.parse(source))
    later = ast.parse(source)
    for node in ast.walk(later):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            node._fields = (*type(node)._fields, "parameters_of_a_later_version")
            node.parameters_of_a_later_version = []
    assert content._written(later) == before
    assert "Constant(), Constant(value='a')" in before
    others = (source.replace("x=None", "x=0"), source.replace("1.5", "2.5"), source.replace("A", "B"))
    assert len({before, *(content._written(ast.parse(other)) for other in others)}) == 4


def test_the_code_of_a_suite_is_pinned():
    """Another hash would make every stored baseline incomparable, on one version of Python or on all."""
    tree = ast.parse("def f(x):\n    return x + 1\n")
    assert hashlib.sha256(content._written(tree).encode()).hexdigest()[:12] == "f1be77de3dff"
