"""The house: imports flow one way, measurement knows nothing of diffusion, variants are found by discovery."""

import ast
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import dipddpm
import dipddpm.dip
from dipddpm.dip import DeepImagePrior
from dipddpm.errors import InputError
from dipddpm.registry import choose, discover

ROOT = Path(dipddpm.__file__).parent

VERBS = [
    "checkpoints",
    "train",
    "generate",
    "train_extractor",
    "train_warm_start",
    "supervised",
    "train_educated",
    "prior_sets",
    "pictures",
]
# Each layer may import itself and those above it.
LAYERS = [
    [
        "errors",
        "device",
        "registry",
        "rng",
        "memo",
        "batches",
        "distributed",
        "wheels",
        "cuda",
        "paths",
        "notes",
        "documents",
        "trackers",
        "progress",
    ],
    [
        "schedule",
        "unet",
        "warm_start",
        "dip",
        "tasks",
        "data",
        "metrics",
        "extractors",
        "population",
        "stacking",
        "networks",
        "stopping",
    ],
    ["fitting", "injection", "priors", "sampling", "denoisers"],
    ["restore", "training", "training_loss"],
    VERBS,
    ["experiments"],
    ["session"],
    ["sweep"],
    ["cli", "__main__"],
]
# Measurement and report know nothing of diffusion models: what they may import is all that is listed here.
APART = {"measure": {"measure"}, "report": {"report", "measure"}}
# The verbs write files as the measurement does; experiments and report meet in the session and nowhere else.
MEASURED = [
    "documents",
    "notes",
    "checkpoints",
    "train",
    "generate",
    "train_extractor",
    "train_warm_start",
    "prior_sets",
    "pictures",
    "experiments",
    "session",
    "sweep",
    "cli",
]
REPORTED = ["session", "cli"]


def imports(file):
    """Parts of the package that a file imports: ``dipddpm.dip.skip`` counts as ``dip``."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "dipddpm":
            yield from (
                alias.name
                for alias in node.names
                if (ROOT / alias.name).exists() or (ROOT / f"{alias.name}.py").exists()
            )
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dipddpm."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("dipddpm."))


def part(file):
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda f: f.relative_to(ROOT).as_posix())
def test_imports_flow_one_way(file):
    own = part(file)
    if own in APART:
        assert set(imports(file)) <= APART[own]
        return
    if own == "__init__":
        return
    level = {name: i for i, names in enumerate(LAYERS) for name in names}
    assert own in level, f"{own} has no place in the house: give it a layer here and in docs/architecture.md"
    allowed = {name for name, i in level.items() if i <= level[own]} | ({"__version__"} if own == "cli" else set())
    allowed |= {"measure"} if own in MEASURED else set()
    allowed |= {"report"} if own in REPORTED else set()
    assert set(imports(file)) <= allowed


def test_discovery_finds_what_another_distribution_adds(monkeypatch, tmp_path):
    (tmp_path / "their_package.py").write_text(
        "from dipddpm.dip.skip import SkipNet\n\nclass Theirs(SkipNet):\n    name = 'theirs'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("theirs", "their_package:Theirs", "dipddpm.dip")
    monkeypatch.setattr("dipddpm.registry.entry_points", lambda group: [entry] if group == "dipddpm.dip" else [])
    found = discover.__wrapped__(dipddpm.dip, DeepImagePrior)
    assert "theirs" in found and "skip" in found and "DeepImagePrior" not in {c.__name__ for c in found.values()}
    sys.modules.pop("their_package")


def test_two_variants_of_one_name_are_refused(monkeypatch, tmp_path):
    (tmp_path / "copycat.py").write_text(
        "from dipddpm.dip.skip import SkipNet\n\nclass Copy(SkipNet):\n    name = 'skip'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("copy", "copycat:Copy", "dipddpm.dip")
    monkeypatch.setattr("dipddpm.registry.entry_points", lambda group: [entry])
    with pytest.raises(InputError, match="both named 'skip'"):
        discover.__wrapped__(dipddpm.dip, DeepImagePrior)
    sys.modules.pop("copycat")


def test_choose():
    assert choose("colour", "red", ["red", "blue"]) == "red"
    with pytest.raises(InputError, match="unknown colour 'green': choose from red, blue"):
        choose("colour", "green", ["red", "blue"])


OF_THIS_BENCHMARK = re.compile(
    r"\b(dip|nfe|ddpm|ddim|u-?net|diffusion|denois\w*|priors?|photo\w*|restor\w*|network evaluations?|x_0|x_hat|"
    r"inpaint\w*|samplers?)\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("file", sorted((ROOT / "measure").rglob("*.py")), ids=lambda f: f.relative_to(ROOT).as_posix())
def test_measure_does_not_speak_of_what_is_measured(file):
    """Another benchmark could use it: neither code nor docstrings nor comments have words of this one."""
    found = [line for line in file.read_text().splitlines() if OF_THIS_BENCHMARK.search(line)]
    assert not found
