"""Hashes of what decides a result: values, arrays, and the source code that computes."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

import torch


def digest(value: object) -> str:
    """Short hash of anything that JSON can hold; dictionaries in any order give the same."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]


def tensor_digest(tensor: torch.Tensor) -> str:
    """Short hash of a tensor's shape, type and values."""
    header = f"{tuple(tensor.shape)}{tensor.dtype}".encode()
    return hashlib.sha256(header + tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()[:20]


def source_digest(things: Iterable[object]) -> str:
    """Short hash of the code of functions, classes, modules or module names, and of what they import of this package.

    Comments, layout and docstrings do not count, so that explaining a formula does not throw away its results. Code
    that is found at run time (a variant of a family) is not seen: name the variant among ``things``.
    """
    names = {_module_of(thing) for thing in things}
    closure: set[str] = set()
    while names:
        name = names.pop()
        closure.add(name)
        names |= _imports(name) - closure
    return digest({name: _code(name) for name in sorted(closure)})


def own_digest(module: str) -> str:
    """Short hash of the code of one module, whatever it imports."""
    return digest({module: _code(module)})


def _module_of(thing: object) -> str:
    if isinstance(thing, str):
        return thing
    return thing.__name__ if inspect.ismodule(thing) else thing.__module__


@cache
def _source(name: str) -> str:
    module = sys.modules.get(name)
    spec = module.__spec__ if module and module.__spec__ else find_spec(name)
    assert spec and spec.origin, f"{name} has no source file"
    return Path(spec.origin).read_text()


def read_sources() -> None:
    """Read the code of what is loaded of this package, before an edit can part it from what runs."""
    for name in [n for n in sys.modules if n.partition(".")[0] == __name__.partition(".")[0]]:
        _source(name)


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse(_source(name))


@cache
def _code(name: str) -> str:
    tree = ast.parse(ast.unparse(_tree(name)))  # a copy: the docstrings go
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


@cache
def _imports(name: str) -> frozenset[str]:
    """Modules of this package, and of its own top-level one, that a module imports."""
    packages = {name.partition(".")[0], __name__.partition(".")[0]}
    module = sys.modules.get(name)
    parent = name if module is not None and hasattr(module, "__path__") else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), parent) if node.level else node.module or ""
            found.add(base)
            found |= {f"{base}.{alias.name}" for alias in node.names if f"{base}.{alias.name}" in sys.modules}
    return frozenset(n for n in found if n.partition(".")[0] in packages)
