"""What the README shows works as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dipddpm.cli import parser
from dipddpm.dip import DeepImagePrior
from dipddpm.fitting import fit_dip
from dipddpm.rng import ImageRng
from dipddpm.tasks import task

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_architecture_of_the_readme_fits():
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", README, re.S) if "class Tiny" in code)
    namespace: dict = {"__name__": "dipddpm_readme"}
    exec(code, namespace)
    (tiny,) = (
        kind
        for kind in namespace.values()
        if isinstance(kind, type) and issubclass(kind, DeepImagePrior) and kind is not DeepImagePrior
    )
    x_0 = torch.zeros(2, 3, 32, 32)
    fit = fit_dip(tiny, task("inpaint").observe(x_0, ImageRng([0, 1])), ImageRng([0, 1]), iterations=[0, 30])
    assert (fit.loss[1] < fit.loss[0]).all()


def test_every_option_of_the_readme_exists():
    session = Path(__file__).parent.parent / "dipddpm" / "session"
    declared = "".join((session / name).read_text(encoding="utf-8") for name in ("plugin.py", "suites.py"))
    options = {
        o for line in README.splitlines() if line.startswith("pytest bench") for o in re.findall(r"--[a-z-]+", line)
    }
    assert options and all(f'"{option}"' in declared for option in options - {"--help"})
    trained = re.search(r"^dipddpm (train .*?)(\s+#.*)?$", README, re.M)
    assert trained and parser().parse_args(trained[1].split()).steps == 20000


def test_the_example_is_shown_as_it_stands_and_prints_what_is_said():
    """The numbers are those shown, to what another CPU may make of a DIP fit."""
    example = (ROOT / "example.py").read_text(encoding="utf-8")
    assert f"```python\n{example}```" in README
    made = subprocess.run([sys.executable, "example.py"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    (shown,) = re.findall(r"^```\n(from noise.*?)^```$", README, re.S | re.M)
    numbers, said = (re.findall(r"(\d+\.\d+) dB", text) for text in (made.stdout, shown))
    assert re.sub(r"\d+\.\d+ dB", "", made.stdout) == re.sub(r"\d+\.\d+ dB", "", shown)
    assert [float(n) for n in numbers] == pytest.approx([float(n) for n in said], abs=0.5)


def test_files_that_the_readme_links_are_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parent.parent / target).exists(), target
