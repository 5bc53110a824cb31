"""What the README shows works as it stands there."""

import re
from pathlib import Path

import torch

from dipddpm.cli import parser
from dipddpm.dip import DeepImagePrior
from dipddpm.fitting import fit_dip
from dipddpm.rng import ImageRng
from dipddpm.tasks import task

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_architecture_of_the_readme_fits():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
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
    conftest = (Path(__file__).parent.parent / "conftest.py").read_text(encoding="utf-8")
    plugin = (Path(__file__).parent.parent / "dipddpm" / "session" / "plugin.py").read_text(encoding="utf-8")
    options = {
        o for line in README.splitlines() if line.startswith("pytest bench") for o in re.findall(r"--[a-z-]+", line)
    }
    assert options and all(f'"{option}"' in conftest + plugin for option in options - {"--help"})
    trained = re.search(r"^dipddpm (train .*?)(\s+#.*)?$", README, re.M)
    assert trained and parser().parse_args(trained[1].split()).steps == 20000


def test_files_that_the_readme_links_are_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parent.parent / target).exists(), target
