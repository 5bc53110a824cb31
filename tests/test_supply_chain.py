"""What may run code is not opened, and what CI installs is what the project allows."""

import ast
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
SOURCES = [f for folder in ("dipddpm", "bench", "tests") for f in sorted((ROOT / folder).rglob("*.py"))]


def calls(file, name):
    """Calls of ``...name(...)`` in a file, as text."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
            yield node


def test_torch_unpickles_tensors_alone():
    found = [(file, call) for file in SOURCES for call in calls(file, "torch.load")]
    assert len(found) > 3, "the search finds calls"
    for file, call in found:
        safe = [k for k in call.keywords if k.arg == "weights_only" and ast.unparse(k.value) == "True"]
        assert safe, f"{file}: {ast.unparse(call)}"


def test_nothing_else_is_unpickled_or_evaluated_in_the_package():
    for file in SOURCES:
        if file.relative_to(ROOT).parts[0] == "dipddpm":
            for name in ("pickle.load", "pickle.loads", "eval", "exec", "os.system", "np.load", "numpy.load"):
                # Workers of a sweep unpickle what their own driver sent them through a pipe or through Ray.
                sweeps = file.parent.name == "sweep" and name == "pickle.loads"
                assert sweeps or not list(calls(file, name)), f"{file}: {name}"


def test_no_repository_on_the_hub_may_bring_code():
    assert not [f for f in SOURCES[:-1] if f.name != Path(__file__).name and "trust_remote_code=True" in f.read_text()]


def test_what_ci_installs_is_within_the_bounds_and_leaves_torch_open():
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / ".ci" / "constraints.txt").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["dev"])]
    for one in wanted:
        name = re.sub(r"[-_.]+", "-", one.name).lower()
        if name in ("torch", "torchvision"):
            assert name not in pins
        else:
            assert name in pins and one.specifier.contains(pins[name]), one
