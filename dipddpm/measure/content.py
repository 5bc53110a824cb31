"""The key of a stored result: made of the values that a function is given, and of the code that computes with them.

The rule: *what is stored is what a plain function returns*. Its key is made of the values of its arguments, and of the
code of the function, of the class of every argument, and of the classes of whatever those hold. Nobody lists sources by
hand. A module counts with everything that it imports of its own distribution and of this one; comments, layout and
docstrings do not count, so that explaining a formula throws no result away.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import cache, partial
from importlib.util import find_spec, resolve_name
from pathlib import Path, PurePath

import torch

OWN = __name__.partition(".")[0]


def digest(value: object) -> str:
    """Short hash of anything that JSON can hold; dictionaries in any order give the same."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]


def tensor_digest(tensor: torch.Tensor) -> str:
    """Short hash of a tensor's shape, type and values."""
    header = f"{tuple(tensor.shape)}{tensor.dtype}".encode()
    return hashlib.sha256(header + tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()[:20]


# Calls


def describe_call(function: Callable, arguments: Mapping[str, object]) -> dict:
    """What a call is known by, as JSON can hold it: the function, its arguments by value, and a hash of the code.

    Raises:
        TypeError: an argument that has no content to be known by (a path, a lambda, a network without a fingerprint);
            the message says which one.
    """
    found = _Content()
    return found.of_call(function, arguments) | {"code": source_digest(found.modules)}


def modules_of_call(function: Callable, arguments: Mapping[str, object]) -> frozenset[str]:
    """Every module whose code is part of what a call is known by."""
    found = _Content()
    found.of_call(function, arguments)
    return closure(found.modules)


class _Content:
    """Walks through values; ``modules`` collects where the code of their classes is written."""

    def __init__(self) -> None:
        self.modules: set[str] = set()

    def of_call(self, function: Callable, arguments: Mapping[str, object]) -> dict:
        """A function and its arguments by value."""
        values = {key: self.of(value, key) for key, value in sorted(arguments.items())}
        return {"function": self.of(function, "the function"), "arguments": values}

    def of(self, value: object, where: str) -> object:
        """``value`` as JSON can hold it; ``where`` names it in an error."""
        if isinstance(value, float) and not math.isfinite(value):
            return {"number": str(value)}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, torch.Tensor):
            return {"tensor": tensor_digest(value)}
        if isinstance(value, torch.device):
            return value.type
        if isinstance(value, torch.dtype):
            return str(value)
        if isinstance(value, Mapping):
            pairs = [[self.of(k, where), self.of(v, f"{where}[{k!r}]")] for k, v in value.items()]
            return {"mapping": sorted(pairs, key=lambda pair: json.dumps(pair[0]))}
        if isinstance(value, Set):
            return {"set": sorted((self.of(v, where) for v in value), key=json.dumps)}
        if isinstance(value, Sequence):
            return [self.of(v, f"{where}[{i}]") for i, v in enumerate(value)]
        if inspect.isclass(value) or inspect.isfunction(value):
            return self._named(value, where)
        return self._object(value, where)

    def _named(self, value: type | Callable, where: str) -> str:
        """A class or a function: its name stands for it, its code counts."""
        if inspect.isfunction(value) and ("<" in value.__qualname__ or value.__closure__):
            raise TypeError(f"{where}: {value.__qualname__} has no content to be known by: use a function of a module")
        self.modules.add(value.__module__)
        return f"{value.__module__}:{value.__qualname__}"

    def _object(self, value: object, where: str) -> object:
        """An object: its class, and its fingerprint or else everything that it holds."""
        kind = type(value)
        fingerprint = getattr(value, "fingerprint", None)
        if isinstance(fingerprint, str):
            self.modules |= set(getattr(value, "opens", ()))
            return {self._named(kind, where): fingerprint}
        hidden = isinstance(value, PurePath | partial | Iterator | torch.nn.Module)  # what they hold is not to be seen
        if hidden or not hasattr(value, "__dict__"):
            raise TypeError(f"{where}: a {kind.__qualname__} has no content to be known by: give it a fingerprint")
        held = {k: self.of(v, f"{where}.{k}") for k, v in sorted(vars(value).items())}
        return {self._named(kind, where): held}


# Code


def source_digest(things: Iterable[object]) -> str:
    """Short hash of the code of functions, classes, modules or module names, and of all that they import of their own
    distribution and of this one."""
    return digest({name: _code(_source(name)) for name in sorted(closure(map(_module_of, things)))})


def own_digest(module: str) -> str:
    """Short hash of the code of one module, whatever it imports."""
    return digest({module: _code(_source(module))})


def closure(names: Iterable[str]) -> frozenset[str]:
    """Modules and all that they import, directly or not, packages above them included."""
    waiting, found = set(names), set[str]()
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= _imports(name, _source(name)) - found
    return frozenset(found)


def read_sources() -> None:
    """Read the source of every loaded module of this package now, so that a later edit of a file is not taken for the
    code that runs."""
    for name in [n for n in sys.modules if n.partition(".")[0] == OWN]:
        _source(name)


def _module_of(thing: object) -> str:
    if isinstance(thing, str):
        return thing
    return thing.__name__ if inspect.ismodule(thing) else thing.__module__


@cache
def _source(name: str) -> str:
    return _file(name).read_text(encoding="utf-8")


def _file(name: str) -> Path:
    """Where a module is written. One that is not loaded is looked up by its place and not imported."""
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None):
        return Path(str(loaded.__file__))
    top, *rest = name.split(".")
    spec = find_spec(top)
    if spec and spec.origin and not rest:
        return Path(spec.origin)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if found := _in(Path(folder).joinpath(*rest)):
            return found
    raise TypeError(f"{name} has no source file: code that makes stored results has to be written in a module")


def _in(place: Path) -> Path | None:
    """The file of a module or package at ``place`` (a path without its ending)."""
    return next((f for f in (place / "__init__.py", place.with_suffix(".py")) if f.is_file()), None)


@cache
def _tree(source: str) -> ast.Module:
    """The syntax tree of a source, without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return tree


@cache
def _code(source: str) -> str:
    """Hash of what a source does, the same for every version of Python."""
    return hashlib.sha256(_written(_tree(source)).encode()).hexdigest()


def _written(node: object) -> str:
    """A syntax tree as text. Fields that hold nothing are left out: versions of Python add some, such as the
    ``type_params`` of a function since 3.12, and ``ast.dump`` writes them or not by version."""
    if isinstance(node, ast.AST):
        fields = {name: getattr(node, name, None) for name in node._fields}
        parts = [f"{name}={_written(value)}" for name, value in fields.items() if value not in (None, [])]
        return f"{type(node).__name__}({', '.join(parts)})"
    return f"[{', '.join(map(_written, node))}]" if isinstance(node, list) else repr(node)


@cache
def _imports(name: str, source: str) -> frozenset[str]:
    """Modules of this package, and of the module's own top-level one, that a module imports; what stands under
    ``if TYPE_CHECKING`` is not imported."""
    packages = {name.partition(".")[0], OWN}
    file = _file(name)
    parent = name if file.name == "__init__.py" else name.rpartition(".")[0]
    found = {parent} if parent else set()
    for node in _executed(_tree(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), parent) if node.level else node.module or ""
            found.add(base)
            if base.partition(".")[0] in packages and (package := _file(base)).name == "__init__.py":
                names = [alias.name for alias in node.names]
                found |= {f"{base}.{part}" for part in names if _in(package.parent / part)}
    own = {n for n in found if n.partition(".")[0] in packages}
    return frozenset(own | {".".join(n.split(".")[: i + 1]) for n in own for i in range(n.count("."))})


def _executed(tree: ast.AST) -> Iterable[ast.AST]:
    """Every node but those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")):
            yield node
            yield from _executed(node)
